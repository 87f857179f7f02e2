"""How the weights in `models/` are made and measured. The service never imports this package."""
