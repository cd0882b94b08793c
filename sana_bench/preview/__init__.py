"""What training will see, for people to look at before anything is trained: views, captions, and where the loss counts more."""
