"""A vision-language model as a judge: a plug-in that asks an endpoint of the user's which of two pictures shows better people.

It is off until the user names an endpoint in the environment (endpoint.py), and then only where score.metrics names one of its metrics.
What is sent, to that endpoint and nowhere else, is two JPEGs of a pair (pictures.py), the prompt that they were drawn from, and the
question (questions.py). Photographs of the self-test, all of synthetic people, are sent by `sana-bench selftest vlm_preference_hands`
and its like, which a judge must pass before it decides anything.
"""
