// One connection of the synthetic daemon: its calls, and the streams they open.
import Glibc
import Streams

/// Answers calls in the order they came and keeps every open stream moving meanwhile.
///
/// Replies are gathered while more calls lie in the buffer. Stream packets take turns, one each,
/// and a packet that the kernel took in part is finished before anything else goes out.
final class EndpointConnection {
  /// A download: what is still to be sent.
  private struct Source {
    let header: PacketHeader
    var position: UInt64
    let end: UInt64
  }
  /// An upload: what has arrived.
  private struct Sink {
    let header: PacketHeader
    var position: UInt64
    var isGood = true
  }

  private let socket: Socket
  private let inflow: Inflow
  private let outflow: Outflow
  private let packet = OutgoingPacket()
  private let volumeBytes: UInt64
  private let isChecking: Bool
  /// Downloads with data left, in the order of their turns.
  private var sources: [Source] = []
  private var turn = 0
  /// Downloads that said their end and wait for the client's finish.
  private var ended: [PacketHeader] = []
  private var sinks: [Sink] = []
  private var isClosing = false

  init(_ socket: Socket, volumeBytes: UInt64, isChecking: Bool) {
    self.socket = socket
    self.volumeBytes = volumeBytes
    self.isChecking = isChecking
    inflow = Inflow(socket)
    outflow = Outflow(socket)
  }

  /// Serves until the client closes.
  func serve() throws(EndFailure) {
    while !isClosing {
      if sources.isEmpty && !packet.isPending {
        if !inflow.hasHeader { try outflow.flush() }
        guard let header = try inflow.header() else { return }
        try take(header)
      } else if outflow.hasRoom, inflow.isReady {
        guard let header = try inflow.header() else { return }
        try take(header)
      } else {
        try push()
      }
    }
    try outflow.flush()
  }

  /// Sends the next stream packet, or waits until the kernel takes it or the client says something.
  private func push() throws(EndFailure) {
    if !packet.isPending {
      try outflow.flush()
      turn = turn + 1 < sources.count ? turn + 1 : 0
      let source = sources[turn]
      // As libvirt reads a file: blocks of 256 KiB, each in a full packet and a small one.
      let block = UInt64(Pattern.block)
      let offset = source.position % block
      let toEdge =
        (offset < UInt64(Limits.usualPayload) ? UInt64(Limits.usualPayload) : block) - offset
      let count = min(toEdge, source.end - source.position)
      packet.start(source.header, position: source.position, count: Int(count))
      sources[turn].position += count
    }
    guard try packet.send(to: socket) else {
      _ = socket.wait(for: outflow.hasRoom ? POLLIN | POLLOUT : POLLOUT)
      return
    }
    if turn < sources.count, sources[turn].position == sources[turn].end {
      var header = sources.remove(at: turn).header
      try outflow.put(header)
      header.status = .ok
      ended.append(header)
      if sources.isEmpty { try outflow.flush() }
    }
  }

  private func take(_ header: PacketHeader) throws(EndFailure) {
    switch header.kind {
    case .call where header.program == Program.remote: try answer(header)
    case .stream: try takeStream(header)
    case .message
    where header.program == Program.keepAlive && header.procedure == KeepAliveProcedure.ping:
      try outflow.put(Packets.keepAlive(KeepAliveProcedure.pong))
    default: break
    }
  }

  private func answer(_ header: PacketHeader) throws(EndFailure) {
    var reply = header
    reply.kind = .reply
    reply.length = UInt32(Limits.header)
    switch header.procedure {
    case Remote.authList:
      try outflow.put(Packets.make(reply, AuthListResult(types: [0])))
    case Remote.connectSupportsFeature:
      try outflow.put(Packets.make(reply, FeatureResult(supported: 1)))
    case Remote.connectGetURI:
      try outflow.put(Packets.make(reply, GetURIResult(uri: "qemu:///system")))
    case Remote.connectClose:
      isClosing = true
      try outflow.put(reply)
    case Remote.storageVolDownload, Remote.storageVolUpload:
      try outflow.put(reply)
      try open(header)
    default:
      try outflow.put(reply)
    }
  }

  private func open(_ call: PacketHeader) throws(EndFailure) {
    let body = try inflow.body()
    let arguments: VolumeTransferArguments
    do throws(Violation) {
      arguments = try VolumeTransferArguments(payload: body)
    } catch {
      throw EndFailure("undecodable arguments of procedure \(call.procedure): \(error)")
    }
    var header = call
    header.kind = .stream
    header.status = .continue
    header.length = UInt32(Limits.header)
    guard call.procedure == Remote.storageVolDownload else {
      sinks.append(Sink(header: header, position: arguments.offset))
      return
    }
    let (end, isTooLong) = arguments.offset.addingReportingOverflow(
      arguments.length > 0 ? arguments.length : volumeBytes)
    if isTooLong { throw EndFailure("a volume that long cannot be") }
    if end > arguments.offset {
      sources.append(Source(header: header, position: arguments.offset, end: end))
    } else {
      try outflow.put(header)
      ended.append(header)
    }
  }

  private func takeStream(_ header: PacketHeader) throws(EndFailure) {
    if let index = sinks.firstIndex(where: { $0.header.serial == header.serial }) {
      if header.status == .continue {
        try swallow(into: index)
      } else {
        let sink = sinks.remove(at: index)
        try confirm(header, sink.isGood || header.status == .error)
      }
    } else if header.status != .continue {
      // A finish or an abort: confirmed at once, also when the end was not reached.
      if let index = ended.firstIndex(where: { $0.serial == header.serial }) {
        ended.remove(at: index)
      } else if let index = sources.firstIndex(where: { $0.header.serial == header.serial }) {
        sources.remove(at: index)
        if turn > index { turn -= 1 }
      } else {
        return
      }
      try confirm(header, true)
    }
  }

  private func swallow(into index: Int) throws(EndFailure) {
    while case let piece = try inflow.piece(), !piece.isEmpty {
      if isChecking, !Pattern.matches(piece, at: sinks[index].position) {
        sinks[index].isGood = false
      }
      sinks[index].position += UInt64(piece.count)
    }
  }

  private func confirm(_ header: PacketHeader, _ isGood: Bool) throws(EndFailure) {
    if isGood {
      var confirmation = header
      confirmation.length = UInt32(Limits.header)
      confirmation.status = .ok
      try outflow.put(confirmation)
    } else {
      try outflow.put(
        Packets.streamError(
          program: header.program, procedure: header.procedure, serial: header.serial,
          RemoteError(.internalError, "what arrived is not what was sent")))
    }
  }
}
