"""How a fit is assembled: the command line over Lightning, its parser, checkpoint lookup."""
