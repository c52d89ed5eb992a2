"""Own images without ground truth: any folder in, label maps, JSON, overlays and tables out."""
