// Packet bodies: encoded and parsed again, cut at any byte, and beyond their limits.
import Testing

@testable import Streams

@Suite("bodies")
struct BodyTests {
  @Test("an encoded body is parsed and encoded to the same bytes", arguments: sampleBodies)
  func roundTrip(body: any XDRBody & Sendable) throws {
    func check<Body: XDRBody>(_ body: Body) throws {
      let again = try Body.read(body.encoded)
      #expect(again.encoded == body.encoded)
      #expect("\(again)" == "\(body)")
    }
    try check(body)
  }

  @Test("a body cut at any byte is refused", arguments: sampleBodies)
  func cut(body: any XDRBody & Sendable) {
    func check<Body: XDRBody>(_ body: Body) {
      let bytes = body.encoded
      for count in 0..<bytes.count {
        #expect(throws: Violation.self, "\(Body.self) cut to \(count) of \(bytes.count) bytes") {
          try Body.read(bytes.prefix(count))
        }
      }
    }
    check(body)
  }

  @Test("bytes after a body are ignored, as in libvirt", arguments: sampleBodies)
  func trailing(body: any XDRBody & Sendable) throws {
    func check<Body: XDRBody>(_ body: Body) throws {
      #expect(try Body.read(body.encoded + [1, 2, 3, 4, 5]).encoded == body.encoded)
    }
    try check(body)
  }

  @Test(
    "with any single byte changed, parsing yields a body or a violation and never traps",
    arguments: sampleBodies)
  func changed(body: any XDRBody & Sendable) {
    func check<Body: XDRBody>(_ body: Body) {
      let bytes = body.encoded
      for index in bytes.indices {
        for value: UInt8 in [0, 1, 0x7f, 0x80, 0xff] {
          var changed = bytes
          changed[index] = value
          guard let read = try? Body.read(changed) else { continue }
          #expect((try? Body.read(read.encoded))?.encoded == read.encoded)
        }
      }
    }
    check(body)
  }

  @Test("twenty authentication types and twenty identity parameters are accepted, one more is not")
  func counts() throws {
    let types = AuthListResult(types: Array(repeating: 0, count: Limits.authTypes))
    #expect(try AuthListResult.read(types.encoded) == types)
    let parameter = TypedParameter("user-name", .string("root"))
    let identity = SetIdentityArguments(
      parameters: Array(repeating: parameter, count: Limits.identityParameters))
    #expect(try SetIdentityArguments.read(identity.encoded) == identity)

    #expect(throws: Violation(.tooManyElements, [21, 20])) {
      try AuthListResult.read(AuthListResult(types: types.types + [0]).encoded)
    }
    #expect(throws: Violation(.tooManyElements, [21, 20])) {
      try SetIdentityArguments.read(
        SetIdentityArguments(parameters: identity.parameters + [parameter]).encoded)
    }
  }

  @Test("a parameter name of 79 bytes is accepted, one of 80 is not")
  func parameterName() throws {
    let name = String(repeating: "n", count: Limits.parameterField)
    #expect(try TypedParameter.read(TypedParameter(name, .int(1)).encoded).field == name)
    #expect(throws: Violation(.tooManyBytes, [80, 79])) {
      try TypedParameter.read(TypedParameter(name + "n", .int(1)).encoded)
    }
  }

  @Test("a parameter of an unknown type is refused", arguments: [0, 8, -1, Int32.max, .min])
  func parameterType(type: Int32) {
    var writer = XDRWriter()
    writer.string("field")
    writer.int32(type)
    writer.uint64(0)
    let bytes = writer.bytes
    #expect(throws: Violation(.unknownParameterType, [type])) {
      try TypedParameter.read(bytes)
    }
  }

  @Test("any number except 0 is true, and is forwarded as 1")
  func boolean() throws {
    var bytes = TypedParameter("b", .boolean(true)).encoded
    bytes[bytes.count - 4] = 2
    let read = try TypedParameter.read(bytes)
    #expect(read.value == .boolean(true))
    #expect(read.encoded == TypedParameter("b", .boolean(true)).encoded)
  }

  @Test("known flags are found among unknown ones")
  func flags() {
    #expect(ConnectOpenArguments(name: nil, flags: 7).isReadOnly)
    #expect(!ConnectOpenArguments(name: nil, flags: 6).isReadOnly)
    var volume = VolumeTransferArguments(
      pool: "p", name: "n", key: "k", offset: 0, length: 0, flags: 3)
    #expect(volume.isSparse)
    volume.flags = 2
    #expect(!volume.isSparse)
  }

  @Test("an error may contain the domain and network it is about, which are skipped")
  func errorWithObjects() throws {
    var writer = XDRWriter()
    func uuid() { for word in 0..<4 { writer.uint32(UInt32(word)) } }
    writer.int32(42)
    writer.int32(ErrorDomain.qemu.rawValue)
    writer.optional("message") { $0.string($1) }
    writer.int32(1)
    writer.uint32(1)
    writer.string("guest")
    uuid()
    writer.int32(-1)
    writer.uint32(0)
    writer.optional("two") { $0.string($1) }
    writer.optional("three") { $0.string($1) }
    writer.int32(11)
    writer.int32(12)
    writer.uint32(1)
    writer.string("net")
    uuid()
    let bytes = writer.bytes
    let error = try RemoteError.read(bytes)
    #expect(error.code.rawValue == 42)
    #expect(error.domain == .qemu)
    #expect(error.message == "message")
    #expect(error.level == 1)
    #expect([error.str1, error.str2, error.str3] == [nil, "two", "three"])
    #expect([error.int1, error.int2] == [11, 12])
    for count in bytes.indices {
      #expect(throws: Violation.self) { try RemoteError.read(bytes.prefix(count)) }
    }
  }
}
