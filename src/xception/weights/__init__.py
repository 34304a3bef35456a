"""Files of weights in and out: Keras, timm, torchvision and our own safetensors."""
