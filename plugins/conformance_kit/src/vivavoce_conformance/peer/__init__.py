"""The far side: a service that the kit plays, in a process of its own.

dialect    what a service of a protocol says and understands, a dozen small functions
realtime   that of the OpenAI Realtime protocol
service    one connection: hears, replies as it was told to, records what it heard
server     sockets, and the faults below the dialect
process    the process, and its control channel
client     the check's end of that channel
"""
