"""Speed, measured against the peers: interleaved, checked before it is timed."""
