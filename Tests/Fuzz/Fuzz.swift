// Fuzz targets for everything that parses a peer's bytes.
//
// This file is not part of the package: scripts/fuzz compiles it with the others of this folder. The environment variable VIRTBROKER_FUZZ_TARGET selects the target; `list` prints all names.
import Glibc

@testable import Streams

/// A target parses its input in every possible way. It fails by a trap, by a read beyond the input, or by a check of
/// its own.
private typealias Target = @Sendable (UnsafeRawBufferPointer) -> Void

/// The targets by name. Each has a folder of that name in Tests/Fuzz/corpus.
private let targets: [String: Target] = [
  "admin-call": adminCall,
  "admin-clients": { roundTrip(AdminList<AdminClient>.self, $0) },
  "admin-dialogue": connection,
  "broker-call": brokerCall,
  "broker-page": { roundTrip(BrokerPage.self, $0) },
  "auth-list-result": { roundTrip(AuthListResult.self, $0) },
  "auth-polkit-result": { roundTrip(AuthPolkitResult.self, $0) },
  "connect-open-arguments": { roundTrip(ConnectOpenArguments.self, $0) },
  "connection-closed-event": { roundTrip(ConnectionClosedEvent.self, $0) },
  "feature-arguments": { roundTrip(FeatureArguments.self, $0) },
  "feature-result": { roundTrip(FeatureResult.self, $0) },
  "get-uri-result": { roundTrip(GetURIResult.self, $0) },
  "header": header,
  "reader": reader,
  "remote-error": { roundTrip(RemoteError.self, $0) },
  "sasl-data": { roundTrip(SASLData.self, $0) },
  "sasl-init-result": { roundTrip(SASLInitResult.self, $0) },
  "sasl-start-arguments": { roundTrip(SASLStartArguments.self, $0) },
  "sasl-step-result": { roundTrip(SASLStepResult.self, $0) },
  "scanner": scanner,
  "set-identity-arguments": { roundTrip(SetIdentityArguments.self, $0) },
  "stream-hole": { roundTrip(StreamHole.self, $0) },
  "typed-parameter": { roundTrip(TypedParameter.self, $0) },
  "volume-transfer-arguments": { roundTrip(VolumeTransferArguments.self, $0) },
]

private let chosen: Target = {
  let name = getenv("VIRTBROKER_FUZZ_TARGET").map { String(cString: $0) } ?? ""
  if name == "list" {
    for name in targets.keys.sorted() { print(name) }
    exit(0)
  }
  guard let target = targets[name] else {
    print("VIRTBROKER_FUZZ_TARGET names no target: '\(name)'")
    exit(2)
  }
  return target
}()

@_cdecl("LLVMFuzzerInitialize")
public func initialize(
  _ count: UnsafeMutableRawPointer, _ arguments: UnsafeMutableRawPointer
) -> CInt {
  _ = chosen
  return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafeRawPointer?, _ count: Int) -> CInt {
  chosen(UnsafeRawBufferPointer(start: start, count: count))
  return 0
}

/// A parsed body must be encoded and parsed again to the same value.
private func roundTrip<Body: XDRBody & Equatable>(_: Body.Type, _ input: UnsafeRawBufferPointer) {
  guard let body = try? Body(payload: input) else { return }
  let bytes = body.encoded
  precondition(bytes.count % 4 == 0, "what is written is whole words")
  guard let again = bytes.withUnsafeBytes({ try? Body(payload: $0) }) else {
    preconditionFailure("what was read and written again is refused: \(body)")
  }
  // A NaN equals no value, so the text is compared.
  precondition(
    again == body || "\(again)" == "\(body)", "\(body) became \(again) on its way through bytes")
  precondition(again.encoded == bytes, "\(body) is written in two ways")
}

/// A parsed header must be encoded to the same bytes, and any procedure can be looked up.
private func header(_ input: UnsafeRawBufferPointer) {
  guard input.count >= Limits.header, let start = input.baseAddress else { return }
  let header = PacketHeader(at: start)
  withUnsafeTemporaryAllocation(byteCount: Limits.header, alignment: 1) { room in
    guard let room = room.baseAddress else { return }
    header.write(at: room)
    precondition(memcmp(room, start, Limits.header) == 0, "\(header) was written differently")
  }
  let found = ProcedureTable.find(program: header.program, procedure: header.procedure)
  precondition(found == nil || header.procedure > 0, "\(header.procedure) is no procedure")
}

/// The first half of the input selects reads and limits; the second half is the data.
private func reader(_ input: UnsafeRawBufferPointer) {
  let orders = input.prefix(input.count / 2)
  let bytes = UnsafeRawBufferPointer(rebasing: input.dropFirst(orders.count))
  var reader = XDRReader(bytes)
  do throws(Violation) {
    for order in orders {
      let before = reader.remaining
      let limit = Int(order >> 4)
      switch order & 15 {
      case 0: _ = try reader.int32()
      case 1: _ = try reader.uint32()
      case 2: _ = try reader.int64()
      case 3: _ = try reader.uint64()
      case 4: _ = try reader.double()
      case 5:
        let text = try reader.string(limit: limit)
        precondition(text.utf8.count <= limit && !text.utf8.contains(0), "\(text)")
      case 6:
        let opaque = try reader.opaque(limit: limit)
        precondition(opaque.count <= limit, "\(opaque.count) bytes beyond \(limit)")
        // The sum touches every byte, so that the address sanitizer checks each.
        precondition(opaque.reduce(0) { $0 + Int($1) } <= opaque.count * 255)
      case 7:
        _ = try reader.optional { reader throws(Violation) in try reader.string(limit: limit) }
      case 8:
        let array = try reader.array(limit: limit) { reader throws(Violation) in
          try reader.optional { reader throws(Violation) in try reader.double() }
        }
        precondition(array.count <= limit, "\(array.count) elements beyond \(limit)")
      default:
        let fixed = try reader.fixed(limit)
        precondition(fixed.count == limit, "\(fixed.count) bytes instead of \(limit)")
      }
      precondition(reader.remaining <= before, "the reader went backwards")
    }
  } catch {
    precondition(!error.description.isEmpty, "a violation without a reason")
  }
}
