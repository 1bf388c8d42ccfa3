// A client's large stream packets, whose payload goes through a pipe in the kernel.

/// A client that sends large packets of a stream to one daemon. While it does, the relay reads each header by itself,
/// decides about it as about any other, and moves the payload behind it to the daemon without reading it.
struct BulkUpload {
  let upstream: UpstreamLink
  let slot: Int
  /// A packet's header is in the pipe, and its payload follows it there.
  var isInPacket = false
}
