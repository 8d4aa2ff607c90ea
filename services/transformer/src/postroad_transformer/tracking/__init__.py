"""What leads through the tracking host: links, images, the pixel, hosted images."""
