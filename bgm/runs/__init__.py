"""One run: what is to be done, the steps of one image, and the pipeline of all of them."""
