"""Train and measure the weights in `models/`. The service never imports this package."""
