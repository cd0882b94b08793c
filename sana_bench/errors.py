"""Every error that sana-bench raises on purpose, as one tree.

    SanaBenchError              anything a user can mend: one message, exit code 2
    |-- ConfigError             recipe, override or environment value
    |-- PromptSuiteError        a prompt suite that cannot be used
    |-- DataError               a training or reference folder that cannot be used
    |-- AssetError              a weight or data set that is missing, altered or unreachable
    |-- ModelError              a base model or adapter that does not fit
    |-- StoreError              an artifact store that cannot be read or written
    |-- TrainingError           training stopped before its end
    |-- GenerationError         an image came out wrong or not at all
    |-- MetricError             a metric cannot be computed
    |   `-- InsufficientSamplesError
    |-- BaselineError           a baseline that cannot be compared with
    |-- ReportError             a report that cannot be written
    `-- HistoryError            results of many runs that cannot be read or asked

A message says what is wrong, with which value, and how to mend it. `assert` is for our own mistakes only.
"""


class SanaBenchError(Exception):
    """Base of every error a user can mend. The command line prints it as one line and exits with 2."""


class ConfigError(SanaBenchError):
    """A recipe, an override or an environment value is wrong. All problems found are in one message."""


class PromptSuiteError(SanaBenchError):
    """A prompt suite is missing, malformed or inconsistent."""


class DataError(SanaBenchError):
    """A folder of training or reference images is empty or malformed."""


class AssetError(SanaBenchError):
    """A third-party file is missing, altered or out of reach."""


class ModelError(SanaBenchError):
    """A base model or adapter is malformed or does not fit the run."""


class StoreError(SanaBenchError):
    """The artifact store cannot be read or written, or holds a damaged artifact."""


class TrainingError(SanaBenchError):
    """Training stopped: a loss that is not finite, or a checkpoint that cannot be resumed."""


class GenerationError(SanaBenchError):
    """An image has the wrong size or could not be drawn."""


class MetricError(SanaBenchError):
    """A metric cannot be computed from what it was given."""


class InsufficientSamplesError(MetricError):
    """Fewer samples than the metric needs to mean anything."""


class BaselineError(SanaBenchError):
    """A baseline is missing, damaged or belongs to something else."""


class ReportError(SanaBenchError):
    """A report cannot be written."""


class HistoryError(SanaBenchError):
    """There is nothing to make a history of, or a question to it is wrong."""
