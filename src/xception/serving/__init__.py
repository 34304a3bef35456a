"""A model behind HTTP: images in, class names and probabilities out.

``application`` holds the addresses, ``requests`` what a request brings, ``batching`` how requests
that wait together share a forward pass, ``statistics`` what a monitor reads, ``server`` the socket
and the end. Needs the extra ``serving``.
"""
