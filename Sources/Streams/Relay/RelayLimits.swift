// The bounds of one relay.

/// How much one client may have under way and queued.
struct RelayLimits {
  let watermarks: Watermarks
  /// Packets of up to this many bytes are forwarded whole, larger ones in parts as they arrive.
  let largestWhole: Int
  /// Calls of the client whose reply may be awaited at a time.
  var maxRequests: Int
}
