// A raw protocol client: it opens a connection and makes calls, with no layer above the socket.
import Glibc
import Streams

/// A libvirt client reduced to the needs of a measurement. One thread uses it.
public final class Client {
  let socket: Socket
  let inflow: Inflow
  let outflow: Outflow
  private var lastSerial: UInt32 = 0

  /// Connects and makes the first calls of every client: AUTH_LIST, then CONNECT_OPEN of `name`.
  ///
  /// `buffers` limits the bytes that the kernel queues in each direction, approximately. `source` is the local IPv4
  /// address. Waiting for a reply fails after `patience` milliseconds; a negative value means no limit.
  public init(
    to place: Place, opening name: String = "qemu:///system", from source: String? = nil,
    buffers: Int32? = nil, patience: Int32 = -1
  ) throws(EndFailure) {
    socket = try Socket.connect(to: place, from: source, patience: patience)
    if let buffers { socket.limitBuffers(to: buffers) }
    inflow = Inflow(socket)
    outflow = Outflow(socket)
    try call(Packets.make(nextCall(Remote.authList)))
    guard try decode(AuthListResult.self).types.first == AuthListResult.none else {
      throw EndFailure("\(place) asks for authentication, which this client cannot do")
    }
    let arguments = ConnectOpenArguments(name: name, flags: 0)
    try call(Packets.make(nextCall(Remote.connectOpen), arguments))
  }

  /// Closes as a client does: sends CONNECT_CLOSE and waits for its reply.
  public func close() throws(EndFailure) {
    try call(Packets.make(nextCall(Remote.connectClose)))
  }

  /// One small call that only the daemon can answer: CONNECT_GET_LIB_VERSION.
  public func callOnce() throws(EndFailure) {
    try call(Packets.make(nextCall(Call.getLibVersion)))
  }

  /// The synthetic daemon replies after this many milliseconds; a real one reports that the domain does not exist.
  public func callHeld(milliseconds: UInt64) throws(EndFailure) {
    _ = try lookUp(domain: "\(Endpoint.holdPrefix)\(milliseconds)")
  }

  func lookUp(domain name: String) throws(EndFailure) -> DomainBody {
    try call(Packets.make(nextCall(Call.domainLookupByName), TextBody(name)))
    return try decode(DomainBody.self)
  }

  /// Sends a call and waits for the reply. The caller then takes the body; an error reply is thrown.
  func call(_ packet: [UInt8]) throws(EndFailure) {
    try outflow.put(packet)
    try outflow.flush()
    try awaitReply(to: packet.withUnsafeBytes { PacketHeader(at: $0.baseAddress!) })
  }

  /// The header of a new call.
  func nextCall(_ procedure: Int32) -> PacketHeader {
    defer { lastSerial &+= 1 }
    return PacketHeader(procedure: procedure, kind: .call, serial: lastSerial)
  }

  /// Skips other packets until the reply to `call` arrives. The caller then takes its body.
  func awaitReply(to call: PacketHeader) throws(EndFailure) {
    while let header = try inflow.header() {
      guard header.kind == .reply, header.serial == call.serial else { continue }
      return try check(header)
    }
    throw EndFailure(
      "the daemon closed the connection before the reply to procedure \(call.procedure)")
  }

  /// Throws the error in a packet with the status error.
  func check(_ header: PacketHeader) throws(EndFailure) {
    guard header.status == .error else { return }
    let error = try decode(RemoteError.self)
    throw EndFailure(
      "procedure \(header.procedure): \(error.message ?? "an error without a message")")
  }

  func decode<Body: XDRBody>(_: Body.Type) throws(EndFailure) -> Body {
    let body = try inflow.body()
    do throws(Violation) {
      return try Body(payload: body)
    } catch {
      throw EndFailure("undecodable body: \(error)")
    }
  }
}
