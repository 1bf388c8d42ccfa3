// Records with known bytes: those of RFC 8448, and those that scripts/generate-record-vectors makes with OpenSSL's
// ciphers. The RFC has only AES-128-GCM under TLS 1.3.
import CGnuTLS
import Testing

@testable import Broker

@Suite("TLS records of other implementations")
struct RecordVectorTests {
  @Test("the records of RFC 8448 decrypt to their payloads", arguments: Trace.all)
  func opens(trace: Trace) throws {
    for (sequence, record) in trace.records.enumerated() {
      // GnuTLS reads records that are not data, so the broker fetches its keys again after each.
      let keys = try trace.keys(sequence: UInt64(sequence))
      let (opened, content) = try keys.open(record.bytes)
      #expect(content == record.content, "record \(sequence)")
      switch opened {
      case .data: #expect(record.kind == TLSRecordKeys.data, "record \(sequence)")
      case .other(let kind, _): #expect(kind == record.kind, "record \(sequence)")
      case .hollow, .forged: Issue.record("record \(sequence): \(opened)")
      }
      #expect(keys.sequence == UInt64(sequence) + (record.kind == TLSRecordKeys.data ? 1 : 0))
    }
  }

  @Test("the broker encrypts to the same bytes as RFC 8448", arguments: Trace.all)
  func seals(trace: Trace) throws {
    let keys = try trace.keys(sequence: 0)
    for (sequence, record) in trace.records.enumerated() {
      #expect(keys.sequence == UInt64(sequence))
      #expect(try keys.seal(record.content, as: record.kind) == record.bytes, "record \(sequence)")
    }
  }

  @Test("a record of RFC 8448 decrypts only with its own sequence number", arguments: Trace.all)
  func wrongNumber(trace: Trace) throws {
    for (sequence, record) in trace.records.enumerated() {
      for other in [sequence - 1, sequence + 1, sequence + (1 << 32)] where other >= 0 {
        let keys = try trace.keys(sequence: UInt64(other))
        guard case .forged = try keys.open(record.bytes).0 else {
          Issue.record("record \(sequence) opens as number \(other)")
          continue
        }
        #expect(keys.sequence == UInt64(other))
      }
    }
  }

  @Test("a record with any bit changed does not decrypt", arguments: Trace.all)
  func changed(trace: Trace) throws {
    let (sequence, record) = try #require(
      trace.records.enumerated().first { $0.element.kind == TLSRecordKeys.data })
    let keys = try trace.keys(sequence: UInt64(sequence))
    // Not the bits of the length word, which gives the number of bytes.
    for bit in Array(0..<24) + Array(40..<record.bytes.count * 8) {
      var bytes = record.bytes
      bytes[bit / 8] ^= 1 << UInt8(bit % 8)
      guard case .forged = try keys.open(bytes).0 else {
        Issue.record("bit \(bit)")
        continue
      }
    }
    #expect(try keys.open(record.bytes).1 == record.content)
  }

  @Test("records of OpenSSL's ciphers decrypt to their payload, with any sequence number")
  func generatedOpen() throws {
    for record in GeneratedRecord.all {
      let keys = try record.keys
      let (opened, content) = try keys.open(fromHex(record.record))
      guard case .data = opened else {
        Issue.record("\(record): \(opened)")
        continue
      }
      #expect(content == GeneratedRecord.payload, "\(record)")
      #expect(keys.sequence == record.sequence + 1)
    }
  }

  @Test("the broker encrypts to the same bytes as OpenSSL's ciphers, with any sequence number")
  func generatedSeal() throws {
    for record in GeneratedRecord.all where record.isOwnForm {
      let sealed = try record.keys.seal(GeneratedRecord.payload, as: TLSRecordKeys.data)
      #expect(sealed == fromHex(record.record), "\(record)")
    }
  }

  @Test("keys and IVs of the wrong size are refused, and so is CCM under TLS 1.2")
  func sizes() {
    let key = [UInt8](repeating: 1, count: 16)
    let iv = [UInt8](repeating: 2, count: 12)
    let gcm = GNUTLS_CIPHER_AES_128_GCM
    #expect(TLSRecordKeys.of(gcm, isModern: true, key: key, iv: iv) != nil)
    #expect(TLSRecordKeys.of(gcm, isModern: true, key: key, iv: Array(iv.prefix(4))) == nil)
    #expect(TLSRecordKeys.of(gcm, isModern: true, key: Array(key.prefix(15)), iv: iv) == nil)
    #expect(TLSRecordKeys.of(gcm, isModern: false, key: key, iv: iv) == nil)
    #expect(TLSRecordKeys.of(gcm, isModern: false, key: key, iv: Array(iv.prefix(4))) != nil)
    for isModern in [true, false] {
      let keys = TLSRecordKeys.of(GNUTLS_CIPHER_AES_128_CCM, isModern: isModern, key: key, iv: iv)
      #expect((keys != nil) == isModern)
      #expect(
        TLSRecordKeys.of(GNUTLS_CIPHER_AES_128_CBC, isModern: isModern, key: key, iv: iv) == nil)
    }
  }
}

/// The records that one end sends with one key in a trace of RFC 8448, in order. The key and the IV are those that
/// the RFC derives from the traffic secret; the records are its "complete records".
struct Trace: Sendable, CustomTestStringConvertible {
  struct Record: Sendable {
    let kind: UInt8
    let content: [UInt8]
    let bytes: [UInt8]
  }

  let testDescription: String
  let key: String
  let iv: String
  let records: [Record]

  func keys(sequence: UInt64) throws -> TLSRecordKeys {
    try #require(
      TLSRecordKeys.of(
        GNUTLS_CIPHER_AES_128_GCM, isModern: true, key: fromHex(key), iv: fromHex(iv),
        sequence: sequence))
  }

  private static let alert = 21 as UInt8
  private static let closeNotify: [UInt8] = [1, 0]
  /// The 50 bytes in every application data record of the RFC.
  private static let payload = [UInt8](0..<50)

  private static func data(_ hex: String) -> Record {
    Record(kind: TLSRecordKeys.data, content: payload, bytes: fromHex(hex))
  }

  private static func close(_ hex: String) -> Record {
    Record(kind: alert, content: closeNotify, bytes: fromHex(hex))
  }

  static let all = [
    // Section 3, Simple 1-RTT Handshake.
    Trace(
      testDescription: "1-RTT, client",
      key: "17422dda596ed5d9acd890e3c63f5051", iv: "5b78923dee08579033e523d9",
      records: [
        data(
          "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a"
            + "20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4"),
        close("1703030013c9872760655666b74d7ff1153efd6db6d0b0e3"),
      ]),
    Trace(
      testDescription: "1-RTT, server",
      key: "9f02283b6c9c07efc26bb9f2ac92e356", iv: "cf782b88dd83549aadf1e984",
      records: [
        Record(
          kind: TLSRecordKeys.handshake,
          content: fromHex(
            "040000c90000001efad6aac502000000b22c035d829359ee5ff7af4ec900000000262a6494dc486d2c8a34"
              + "cb33fa90bf1b0070ad3c498883c9367c09a2be785abc55cd226097a3a982117283f82a03a143efd3ff5d"
              + "d36d64e861be7fd61d2827db279cce145077d454a3664d4e6da4d29ee03725a6a4dafcd0fc67d2aea705"
              + "29513e3da2677fa5906c5b3f7d8f92f228bda40dda721470f9fbf297b5aea617646fac5c03272e970727"
              + "c621a79141ef5f7de6505e5bfbc388e93343694093934ae4d3570008002a000400000400"),
          bytes: fromHex(
            "17030300de3a6b8f90414a97d6959c3487680de5134a2b240e6cffac116e95d41d6af8f6b580dcf3d11d63"
              + "c758db289a015940252f55713e061dc13e078891a38efbcf5753ad8ef170ad3c7353d16d9da773b9ca7f"
              + "2b9fa1b6c0d4a3d03f75e09c30ba1e62972ac46f75f7b981be63439b2999ce13064615139891d5e4c5b4"
              + "06f16e3fc181a77ca475840025db2f0a77f81b5ab05b94c01346755f69232c86519d86cbeeac87aac347"
              + "d143f9605d64f650db4d023e70e952ca49fe5137121c74bc2697687e248746d6df353005f3bce1869612"
              + "9c8153556b3b6c6779b37bf15985684f")),
        data(
          "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb"
            + "501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d"),
        close("1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9"),
      ]),
    // Section 4, Resumed 0-RTT Handshake.
    Trace(
      testDescription: "0-RTT, client's early data",
      key: "920205a5b7bf2115e6fc5c2942834f54", iv: "6d475f0993c8e564610db2b9",
      records: [
        Record(
          kind: TLSRecordKeys.data, content: Array("ABCDEF".utf8),
          bytes: fromHex("1703030017ab1df420e75c457a7cc5d2844f76d5aee4b4edbf049be0")),
        // EndOfEarlyData.
        Record(
          kind: TLSRecordKeys.handshake, content: [5, 0, 0, 0],
          bytes: fromHex("1703030015aca6fc944841298df99593725f9bf9754429b12f09")),
      ]),
    Trace(
      testDescription: "0-RTT, client",
      key: "3cf122f301c6358ca7989553250efd72", iv: "ab1aec26aa78b8fc1176b9ac",
      records: [
        data(
          "1703030043b1cebce242aa201be9ae5e1cb2a9aa4b33d4e866af1edb068919237741aa031d7a74d491c99b9d"
            + "4e232b74206bc6fbaa04fe78be44a9b4f54320a17eb76992afac3103"),
        close("17030300130facce3246bdfc6369838d6a82ae6de5d422dc"),
      ]),
    Trace(
      testDescription: "0-RTT, server",
      key: "e857c690a34c5a9129d833619684f95e", iv: "0685d6b561aab9ef1013faf9",
      records: [
        data(
          "1703030043275e9f20acff57bc000657d3867df039cccf79047884cf75771746f740b5a83f462a0954c35813"
            + "93a203a25a7dd14141ef1a37900cdb62ff62dee1ba39ab2590cbf194"),
        close("17030300135b18af444e8e1eec7158fb62d8f2577d37ba5d"),
      ]),
  ]
}

extension GeneratedRecord: CustomStringConvertible {
  var description: String {
    "TLS 1.\(isModern ? 3 : 2), \(String(cString: gnutls_cipher_get_name(cipher))), \(sequence)"
  }

  fileprivate var keys: TLSRecordKeys {
    get throws {
      try #require(
        TLSRecordKeys.of(
          cipher, isModern: isModern, key: fromHex(key), iv: fromHex(iv), sequence: sequence))
    }
  }
}

extension TLSRecordKeys {
  fileprivate static func of(
    _ kind: gnutls_cipher_algorithm_t, isModern: Bool, key: [UInt8], iv: [UInt8],
    sequence: UInt64 = 0
  ) -> TLSRecordKeys? {
    var (key, iv) = (key, iv)
    return key.withUnsafeMutableBufferPointer { key in
      iv.withUnsafeMutableBufferPointer { iv in
        TLSRecordKeys(
          cipher: kind.rawValue, isModern: isModern, key: key, iv: UnsafeBufferPointer(iv),
          sequence: sequence)
      }
    }
  }

  /// Decrypts a whole record and returns the content without type and padding.
  fileprivate func open(_ record: [UInt8]) throws -> (Opened, [UInt8]) {
    let length = Int(record[3]) << 8 | Int(record[4])
    #expect(length == record.count - TLSRecordKeys.header)
    var room = [UInt8](repeating: 0xaa, count: try #require(self.room(forLength: length)))
    let opened = try record.withUnsafeBytes { record in
      try room.withUnsafeMutableBytes {
        open(
          try #require(record.baseAddress), length: length, into: try #require($0.baseAddress))
      }
    }
    switch opened {
    case .data(let count), .other(_, let count): return (opened, Array(room.prefix(count)))
    case .hollow, .forged: return (opened, [])
    }
  }

  fileprivate func seal(_ content: [UInt8], as kind: UInt8) throws -> [UInt8] {
    var content = content
    var record = [UInt8](repeating: 0, count: content.count + 64)
    let count = content.count
    let size = try content.withUnsafeMutableBytes { content in
      try record.withUnsafeMutableBytes {
        seal(
          try #require(content.baseAddress), count, as: kind, at: try #require($0.baseAddress))
      }
    }
    return Array(record.prefix(try #require(size)))
  }
}

private func fromHex(_ text: String) -> [UInt8] {
  func digit(_ character: UInt8) -> UInt8 { character < 97 ? character - 48 : character - 87 }
  let digits = Array(text.utf8)
  return stride(from: 0, to: digits.count, by: 2).map {
    digit(digits[$0]) << 4 | digit(digits[$0 + 1])
  }
}
