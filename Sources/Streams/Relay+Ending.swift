// Ending one stream from outside.

extension Relay {
  /// Ends the stream that the call with this serial opened: the daemon hears that the client gave up, the client
  /// hears `error`, and what either still sends for it is for nobody. False: there is no such stream.
  ///
  /// A call whose reply is awaited keeps waiting for it, since its client does; the daemon is told behind it.
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
    // Behind what the daemon has given already, but not into the middle of a packet.
    let sendQueue = releasedQueue(call) ?? upstream.toClient
    append(packet, to: sendQueue.unfinished == 0 ? sendQueue : client.own)
    return true
  }

  /// Tells a daemon that a stream is given up. What the client sent for it may arrive behind that, and is ignored.
  func abort(_ call: PacketHeader, at upstream: UpstreamLink) {
    append(
      Packets.make(
        PacketHeader(
          program: call.program, version: call.version, procedure: call.procedure, kind: .stream,
          serial: call.serial, status: .error)), to: upstream.link.own)
  }
}
