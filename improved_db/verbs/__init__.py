"""The verbs that `ImprovedDb` and `Transaction` share."""
