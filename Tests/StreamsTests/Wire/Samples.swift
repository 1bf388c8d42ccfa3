// One body of every type with a value in every field, for tests over all types.
import Streams

/// Bodies that together take every branch of encoding and parsing.
let sampleBodies: [any XDRBody & Sendable] = [
  ConnectOpenArguments(name: "qemu:///system", flags: 1),
  ConnectOpenArguments(name: nil, flags: 6),
  FeatureArguments(feature: 10),
  FeatureResult(supported: 1),
  AuthListResult(types: [AuthListResult.sasl, AuthListResult.polkit]),
  AuthPolkitResult(complete: 1),
  SASLInitResult(mechanisms: "SCRAM-SHA-256,DIGEST-MD5"),
  SASLStartArguments(mechanism: "PLAIN", data: SASLData(Array("\0fred\0secret".utf8))),
  SASLStartArguments(mechanism: "DIGEST-MD5", data: SASLData(nil)),
  SASLData([]),
  SASLData([0, 1, 0x7f, 0x80, 0xff]),
  SASLStepResult(isComplete: true, data: SASLData(Array("rspauth".utf8))),
  GetURIResult(uri: "qemu:///session"),
  ConnectionClosedEvent(reason: ConnectionClosedEvent.endOfFile),
  VolumeTransferArguments(
    pool: "default", name: "disk.img", key: "/images/disk.img", offset: 1 << 40, length: .max,
    flags: VolumeTransferArguments.sparse),
  StreamHole(length: 1 << 20),
  StreamHole(length: .min, flags: .max),
  TypedParameter("unix-user-id", .ullong(.max)),
  SetIdentityArguments(
    parameters: [
      TypedParameter("a", .int(-1)),
      TypedParameter("bb", .uint(.max)),
      TypedParameter("ccc", .llong(.min)),
      TypedParameter("dddd", .ullong(.max)),
      TypedParameter("eeeee", .double(-0.5)),
      TypedParameter("ffffff", .boolean(true)),
      TypedParameter("", .string("Grüße, 世界")),
    ], flags: 7),
  RemoteError(.systemError, domain: .streams, "cannot write", int1: 28),
  RemoteError.unset,
  AdminServer(name: "virtproxyd"),
  AdminClient(server: "admin", id: 7, connectedAt: 1 << 40, transport: AdminClient.tcp),
  AdminVersion(number: 9_000_000),
  AdminList([AdminServer(name: "a"), AdminServer(name: "")], wantsElements: true),
  AdminList([AdminServer(name: "a")], wantsElements: false),
  AdminParameters([TypedParameter("readonly", .boolean(false))]),
  AdminLogOutputs(text: "3:stderr", count: 1),
  AdminLogFilters(text: nil, count: 0),
  AdminLogFilters(text: "1:*x*", count: 1),
  BrokerPage(rows: [[TypedParameter("a", .uint(1))], []], next: 9),
]

extension XDRBody {
  /// Parses a body from a copy of the bytes, so that a sanitizer detects a read beyond them.
  static func read(_ bytes: some Collection<UInt8>) throws -> Self {
    try Array(bytes).withUnsafeBytes { try Self(payload: $0) }
  }
}

/// Runs `read` with an XDR reader of `bytes`.
func reading<Value>(
  _ bytes: [UInt8], _ read: (inout XDRReader) throws -> Value
) throws -> Value {
  try bytes.withUnsafeBytes { bytes in
    var reader = XDRReader(bytes)
    return try read(&reader)
  }
}
