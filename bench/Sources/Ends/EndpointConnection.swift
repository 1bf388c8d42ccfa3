// One connection of the synthetic daemon: its calls, and the streams they open.
import Glibc
import Streams

/// Answers calls in their order and keeps every open stream moving meanwhile.
///
/// Replies are gathered while more calls are in the buffer. Streams take turns, one packet each or several small ones
/// together. A packet that the kernel accepted in part is finished before anything else is sent.
final class EndpointConnection {
  /// A download: the bytes still to send.
  private struct Source {
    let header: PacketHeader
    var position: UInt64
    let end: UInt64
    /// Bytes in a packet; nil means the sizes that libvirt uses for files.
    let message: Int?
  }
  /// An upload, a migration or a console: the bytes received.
  private struct Sink {
    let header: PacketHeader
    var position: UInt64
    /// Whether received bytes are sent back.
    let isEchoing: Bool
    var isGood = true
  }

  let socket: Socket
  let inflow: Inflow
  let outflow: Outflow
  let settings: Endpoint.Settings
  private let run = OutgoingRun()
  /// Downloads with data left, in the order of their turns.
  private var sources: [Source] = []
  private var turn = 0
  /// Downloads that are complete and wait for the client's finish.
  private var ended: [PacketHeader] = []
  private var sinks: [Sink] = []
  /// Held replies, the earliest first.
  private var held: [(moment: UInt64, packet: [UInt8])] = []
  /// The events of the registered callback.
  var events: EventSource?
  var isClosing = false

  init(_ socket: Socket, _ settings: Endpoint.Settings) {
    self.socket = socket
    self.settings = settings
    inflow = Inflow(socket)
    outflow = Outflow(socket)
  }

  /// Serves until the client closes.
  func serve() throws(EndFailure) {
    if settings.isWelcoming {
      var byte: UInt8 = 1
      // The first byte of an empty socket always fits.
      guard send(socket.descriptor, &byte, 1, Int32(MSG_NOSIGNAL)) == 1 else { return }
    }
    while !isClosing {
      if !held.isEmpty { try release() }
      try events?.putDue(into: outflow)
      if sources.isEmpty && !run.isPending {
        if !inflow.hasHeader {
          try outflow.flush()
          if let events, !inflow.isReady {
            events.wait(on: socket, or: held.first?.moment)
            continue
          }
          if !held.isEmpty, socket.wait(for: POLLIN, milliseconds: timeToHeld) == 0 { continue }
        }
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

  /// Sends the next stream packets, or waits until the kernel accepts them or the client sends something.
  private func push() throws(EndFailure) {
    if !run.isPending {
      try outflow.flush()
      turn = turn + 1 < sources.count ? turn + 1 : 0
      let source = sources[turn]
      if let message = source.message {
        sources[turn].position = run.start(
          source.header, from: source.position, to: source.end, message: message)
      } else {
        // libvirt reads a file in blocks of 256 KiB and sends each in a full packet and a small one.
        let block = UInt64(Pattern.block)
        let offset = source.position % block
        let toEdge =
          (offset < UInt64(Limits.usualPayload) ? UInt64(Limits.usualPayload) : block) - offset
        let count = min(toEdge, source.end - source.position)
        run.add(source.header, position: source.position, count: Int(count))
        sources[turn].position += count
      }
    }
    guard try run.send(to: socket) else {
      _ = socket.wait(
        for: outflow.hasRoom ? POLLIN | POLLOUT : POLLOUT,
        milliseconds: held.isEmpty ? -1 : timeToHeld)
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
    case .call:
      try refuse(
        header,
        "Cannot find program \(Int32(bitPattern: header.program)) version \(header.version)")
    case .stream: try takeStream(header)
    case .message
    where header.program == Program.keepAlive && header.procedure == KeepAliveProcedure.ping:
      try outflow.put(Packets.keepAlive(KeepAliveProcedure.pong))
    default: break
    }
  }

  /// Opens the stream of a call, whose reply is queued already.
  func open(_ call: PacketHeader) throws(EndFailure) {
    var header = call
    header.kind = .stream
    header.status = .continue
    header.length = UInt32(Limits.header)
    switch call.procedure {
    case Remote.storageVolUpload:
      let arguments = try decode(VolumeTransferArguments.self, of: call)
      sinks.append(Sink(header: header, position: arguments.offset, isEchoing: false))
    case Remote.storageVolDownload:
      let arguments = try decode(VolumeTransferArguments.self, of: call)
      let (end, isTooLong) = arguments.offset.addingReportingOverflow(
        arguments.length > 0 ? arguments.length : settings.volumeBytes)
      if isTooLong { throw EndFailure("a volume that long cannot be") }
      if end > arguments.offset {
        sources.append(
          Source(
            header: header, position: arguments.offset, end: end,
            message: Self.message(arguments.name) ?? settings.message))
      } else {
        try outflow.put(header)
        ended.append(header)
      }
    default:
      let isConsole =
        call.procedure == Call.domainOpenConsole || call.procedure == Call.domainOpenChannel
      sinks.append(Sink(header: header, position: 0, isEchoing: isConsole))
    }
  }

  /// The packet size that a volume's name requests; nil if it requests none or an impossible one.
  private static func message(_ name: String) -> Int? {
    guard name.hasPrefix(Endpoint.messagePrefix),
      let message = Int(name.dropFirst(Endpoint.messagePrefix.count)),
      (1...Transfer.largestMessage).contains(message)
    else { return nil }
    return message
  }

  private func takeStream(_ header: PacketHeader) throws(EndFailure) {
    if let index = sinks.firstIndex(where: { $0.header.serial == header.serial }) {
      if header.status != .continue {
        let sink = sinks.remove(at: index)
        try confirm(header, sink.isGood || header.status == .error)
      } else if sinks[index].isEchoing {
        try echo(header)
      } else {
        try swallow(into: index)
      }
    } else if header.status != .continue {
      // A finish or an abort is confirmed at once, also before the end of the data.
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
      if settings.isChecking, !Pattern.matches(piece, at: sinks[index].position) {
        sinks[index].isGood = false
      }
      sinks[index].position += UInt64(piece.count)
    }
  }

  /// Sends received bytes back: one packet for each packet, several for a large one.
  private func echo(_ header: PacketHeader) throws(EndFailure) {
    let most = 32_768
    if inflow.bodyLeft <= most { return try outflow.put(header, try inflow.body()) }
    while case let piece = try inflow.piece(), !piece.isEmpty {
      var rest = piece[...]
      while !rest.isEmpty {
        // Packets that were sent in part are finished before there is space for more.
        while !outflow.hasRoom {
          if run.isPending { while try !run.send(to: socket, waiting: true) {} }
          try outflow.flush()
        }
        try outflow.put(header, UnsafeRawBufferPointer(rebasing: rest.prefix(most)))
        rest = rest.dropFirst(most)
      }
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

  /// Holds a reply for this many milliseconds. Other calls and streams continue.
  func hold(_ packet: [UInt8], milliseconds: UInt64) {
    let moment = now() + milliseconds * 1_000_000
    let index = held.firstIndex { $0.moment > moment } ?? held.endIndex
    held.insert((moment, packet), at: index)
  }

  /// Queues the held replies that are due.
  private func release() throws(EndFailure) {
    let time = now()
    while let first = held.first, first.moment <= time, outflow.hasRoom {
      try outflow.put(first.packet)
      held.removeFirst()
    }
  }

  /// Milliseconds until a held reply is due, at least one.
  private var timeToHeld: Int32 {
    guard let moment = held.first?.moment else { return -1 }
    let time = now()
    return moment > time ? Int32(clamping: (moment - time) / 1_000_000 + 1) : 1
  }

  func decode<Body: XDRBody>(_: Body.Type, of call: PacketHeader) throws(EndFailure) -> Body {
    // A reply that repeats a name must fit into the buffer.
    guard inflow.bodyLeft <= 32_768 else {
      throw EndFailure("procedure \(call.procedure) has \(inflow.bodyLeft) bytes of arguments")
    }
    let body = try inflow.body()
    do throws(Violation) {
      return try Body(payload: body)
    } catch {
      throw EndFailure("undecodable arguments of procedure \(call.procedure): \(error)")
    }
  }
}
