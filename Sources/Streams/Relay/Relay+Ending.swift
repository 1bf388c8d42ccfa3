// Ends one stream on request of the owner.

extension Relay {
  /// Ends the stream that the call with this serial opened: the daemon receives an abort, the client receives `error`,
  /// and the relay drops what either still sends for the stream. False: there is no such stream.
  ///
  /// A call whose reply is awaited stays in the table, because its client waits. The daemon receives the abort after it
  /// has replied.
  public func endStream(serial: UInt32, telling error: RemoteError) -> Bool {
    guard let call = callsUnderWay.first(where: { $0.serial == serial && $0.isStreamAlive }),
      let index = calls.find(call), let upstream = upstreams[call.upstream]
    else { return false }
    calls.cut(at: index)
    if call.isAnswered {
      abort(call.header, at: upstream)
      ended(calls.lastEnded, .killed)
    }
    let packet = Packets.streamError(
      program: call.program, procedure: call.procedure, serial: call.serial, error)
    // The error follows the packets that the daemon has already sent, but never splits a packet.
    let sendQueue = releasedQueue(call) ?? upstream.toClient
    append(packet, to: sendQueue.unfinished == 0 ? sendQueue : client.own)
    return true
  }

  /// Sends a daemon the abort of a stream. The daemon ignores the client's packets that arrive after it.
  func abort(_ call: PacketHeader, at upstream: UpstreamLink) {
    append(
      Packets.make(
        PacketHeader(
          program: call.program, version: call.version, procedure: call.procedure, kind: .stream,
          serial: call.serial, status: .error)), to: upstream.link.own)
  }
}
