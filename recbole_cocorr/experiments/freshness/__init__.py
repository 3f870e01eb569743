"""What corrections recover once the device's model is frozen: later interactions, ranked in the order of time.

The device's model and everything else that is learned sees a snapshot: the interactions before a time, read as if the
file ended there, with the items and users that there were. Each later interaction is ranked with its user's clicks
before it, which the device has read since. An item that the model has no vector for is left out of the device's
history, and a candidate of that kind gets the lowest score that the device gives in its list; the cloud's evidence is
added to that.
"""
