// SASL packet bodies, compared with a recorded exchange of virsh and virtproxyd.
import Testing

@testable import Streams

@Suite("SASL bodies")
struct SASLBodyTests {
  private func body(_ file: String, _ procedure: Int32) throws -> [UInt8] {
    let row = try #require(
      try Golden.rows().first { $0.file == file && $0.header?.procedure == procedure })
    return Array(try Golden.bytes(file)[(row.offset + Limits.header)..<(row.offset + row.length)])
  }

  @Test("a recorded exchange is parsed, and encoded to the same bytes")
  func golden() throws {
    let client = "13-sasl-digest-md5.c2s"
    let server = "13-sasl-digest-md5.s2c"
    let offered = try body(server, Remote.authSASLInit)
    #expect(try SASLInitResult.read(offered).mechanisms == "DIGEST-MD5")
    #expect(try SASLInitResult.read(offered).encoded == offered)

    let start = try body(client, Remote.authSASLStart)
    #expect(
      try SASLStartArguments.read(start)
        == SASLStartArguments(mechanism: "DIGEST-MD5", data: SASLData(nil)))
    #expect(try SASLStartArguments.read(start).encoded == start)

    let challenge = try SASLStepResult.read(try body(server, Remote.authSASLStart))
    #expect(!challenge.isComplete)
    #expect(String(decoding: challenge.data.bytes ?? [], as: UTF8.self).hasPrefix("nonce=\""))
    #expect(challenge.encoded == (try body(server, Remote.authSASLStart)))

    let step = try SASLData.read(try body(client, Remote.authSASLStep))
    #expect(String(decoding: step.bytes ?? [], as: UTF8.self).hasPrefix("username=\"fred\""))
    #expect(step.encoded == (try body(client, Remote.authSASLStep)))

    let last = try SASLStepResult.read(try body(server, Remote.authSASLStep))
    #expect(last.isComplete)
    #expect(String(decoding: last.data.bytes ?? [], as: UTF8.self).hasPrefix("rspauth="))
    #expect(last.encoded == (try body(server, Remote.authSASLStep)))
  }

  @Test("absent data differ from empty data")
  func nothing() throws {
    #expect(SASLData(nil).encoded == [0, 0, 0, 1, 0, 0, 0, 0])
    #expect(SASLData([]).encoded == [0, 0, 0, 0, 0, 0, 0, 0])
    #expect(try SASLData.read(SASLData(nil).encoded).bytes == nil)
    #expect(try SASLData.read(SASLData([]).encoded).bytes == [])
  }

  @Test("a character is sent as a signed word, and the lowest byte of a received word counts")
  func characters() throws {
    #expect(SASLData([0x80]).encoded == [0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0x80])
    #expect(try SASLData.read([0, 0, 0, 0, 0, 0, 0, 1, 7, 7, 7, 0x41]).bytes == [0x41])
  }

  @Test("65536 characters are accepted, one more is not")
  func limit() throws {
    let most = SASLData([UInt8](repeating: 1, count: Limits.saslData))
    #expect(try SASLData.read(most.encoded) == most)
    let more = SASLData([UInt8](repeating: 1, count: Limits.saslData + 1))
    #expect(throws: Violation(.tooManyCharacters, [65537, 65536])) {
      try SASLData.read(more.encoded)
    }
  }
}
