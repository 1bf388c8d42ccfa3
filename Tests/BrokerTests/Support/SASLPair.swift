// Both ends of a SASL exchange in one process: the broker's, and the library's own client.
import CSASL
import Glibc
import Testing

@testable import Broker

/// The tests' password database. The library reads its configuration once, at its first use, so one database serves
/// the whole process.
enum SASLRealm {
  // Only one suite uses it, and its tests run one after another.
  nonisolated(unsafe) static let service: Result<SASLService, BrokerFailure> = {
    let directory = "/tmp/vb-broker-test.sasl.\(getpid())"
    mkdir(directory, 0o700)
    let configuration = """
      mech_list: SCRAM-SHA-256 DIGEST-MD5
      pwcheck_method: auxprop
      auxprop_plugin: sasldb
      sasldb_path: \(directory)/passwords

      """
    if let file = fopen("\(directory)/libvirt.conf", "w") {
      fputs(configuration, file)
      fclose(file)
    }
    setenv("SASL_CONF_PATH", directory, 1)
    let pipe = popen("saslpasswd2 -a libvirt -f \(directory)/passwords -c -p fred", "w")
    fputs("secret", pipe)
    pclose(pipe)
    atexit { _ = system("rm -rf /tmp/vb-broker-test.sasl.\(getpid())") }
    do throws(BrokerFailure) {
      return .success(try SASLService(SASLSettings()))
    } catch {
      return .failure(error)
    }
  }()
}

/// Both ends of an exchange.
final class SASLPair {
  let server: SASLExchange
  private(set) var client: OpaquePointer?
  private let callbacks: UnsafeMutablePointer<sasl_callback_t>
  private static let clientStarted = sasl_client_init(nil)

  typealias Ask =
    @convention(c) (
      UnsafeMutableRawPointer?, Int32, UnsafeMutablePointer<UnsafePointer<CChar>?>?,
      UnsafeMutablePointer<UInt32>?
    ) -> Int32
  typealias AskSecret =
    @convention(c) (
      OpaquePointer?, UnsafeMutableRawPointer?, Int32,
      UnsafeMutablePointer<UnsafeMutablePointer<sasl_secret_t>?>?
    ) -> Int32

  /// Both ends use the name fred; `password` is the client's.
  init(_ service: SASLService, password: String = "secret", cover: SASLConnection.Cover = .none)
    throws
  {
    _ = SASLPair.clientStarted
    server = service.exchange(over: SASLConnection(cover: cover))
    callbacks = .allocate(capacity: 4)
    let secret = strdup(password)
    let name: Ask = { _, _, result, length in
      result?.pointee = UnsafePointer(fixedName)
      length?.pointee = 4
      return SASL_OK
    }
    let ask: AskSecret = { _, context, _, result in
      let password = context?.assumingMemoryBound(to: CChar.self)
      let count = password.map { strlen($0) } ?? 0
      // A length followed by the bytes; the client frees neither.
      let room = malloc(MemoryLayout<UInt>.size + count + 8)
      room?.storeBytes(of: UInt(count), as: UInt.self)
      if let room, let password {
        (room + MemoryLayout<UInt>.size).copyMemory(from: password, byteCount: count + 1)
      }
      result?.pointee = room?.assumingMemoryBound(to: sasl_secret_t.self)
      return SASL_OK
    }
    typealias Callback = @convention(c) () -> Int32
    for (index, id) in [SASL_CB_AUTHNAME, SASL_CB_USER].enumerated() {
      (callbacks + index).initialize(
        to: sasl_callback_t(
          id: UInt(id), proc: unsafeBitCast(name, to: Callback.self), context: nil))
    }
    (callbacks + 2).initialize(
      to: sasl_callback_t(
        id: UInt(SASL_CB_PASS), proc: unsafeBitCast(ask, to: Callback.self), context: secret))
    (callbacks + 3).initialize(
      to: sasl_callback_t(id: UInt(SASL_CB_LIST_END), proc: nil, context: nil))
    let status = sasl_client_new(
      "libvirt", "localhost", nil, nil, callbacks, UInt32(SASL_SUCCESS_DATA), &client)
    try #require(status == SASL_OK)
    var properties = sasl_security_properties_t()
    properties.max_ssf = cover == .none ? 100_000 : 0
    properties.maxbufsize = 65_536
    try #require(sasl_setprop(client, SASL_SEC_PROPS, &properties) == SASL_OK)
  }

  deinit { sasl_dispose(&client) }

  /// Runs the exchange to its end.
  func run(_ mechanism: String) throws -> SASLExchange.Progress {
    _ = try server.begin().get()
    var words: UnsafePointer<CChar>?
    var count: UInt32 = 0
    var status = sasl_client_start(client, mechanism, nil, &words, &count, nil)
    var progress = server.start(mechanism, bytes(words, count))
    while case .continuesSoon(let answer) = progress {
      try #require(status == SASL_CONTINUE, "the client has nothing more to say")
      words = nil
      status = (answer ?? []).map { CChar(bitPattern: $0) }.withUnsafeBufferPointer {
        sasl_client_step(client, $0.baseAddress, UInt32($0.count), nil, &words, &count)
      }
      guard status == SASL_OK || status == SASL_CONTINUE else { return progress }
      progress = server.step(bytes(words, count))
    }
    if case .done(let last?, _, _) = progress, status == SASL_CONTINUE {
      status = last.map { CChar(bitPattern: $0) }.withUnsafeBufferPointer {
        sasl_client_step(client, $0.baseAddress, UInt32($0.count), nil, &words, &count)
      }
      #expect(status == SASL_OK, "the client believes the server")
    }
    return progress
  }

  private func bytes(_ words: UnsafePointer<CChar>?, _ count: UInt32) -> [UInt8]? {
    words.map { UnsafeBufferPointer(start: $0, count: Int(count)).map { UInt8(bitPattern: $0) } }
  }

  /// The client's first data, or its response to `answer`.
  func clientSays(_ mechanism: String, to answer: [UInt8]?) throws -> [UInt8]? {
    var words: UnsafePointer<CChar>?
    var count: UInt32 = 0
    let status: Int32
    if let answer {
      status = answer.map { CChar(bitPattern: $0) }.withUnsafeBufferPointer {
        sasl_client_step(client, $0.baseAddress, UInt32($0.count), nil, &words, &count)
      }
    } else {
      status = sasl_client_start(client, mechanism, nil, &words, &count, nil)
    }
    try #require(status == SASL_OK || status == SASL_CONTINUE)
    return bytes(words, count)
  }

  /// `bytes`, encoded by the client.
  func clientEncode(_ bytes: [UInt8]) -> [UInt8] {
    coded(bytes) { sasl_encode(client, $0, $1, $2, $3) }
  }

  /// The server's blocks, decoded by the client.
  func clientDecode(_ bytes: [UInt8]) -> [UInt8] {
    coded(bytes) { sasl_decode(client, $0, $1, $2, $3) }
  }

  private func coded(
    _ bytes: [UInt8],
    _ call: (
      UnsafePointer<CChar>?, UInt32, UnsafeMutablePointer<UnsafePointer<CChar>?>,
      UnsafeMutablePointer<UInt32>
    ) -> Int32
  ) -> [UInt8] {
    var result: UnsafePointer<CChar>?
    var count: UInt32 = 0
    let status = bytes.map { CChar(bitPattern: $0) }.withUnsafeBufferPointer {
      call($0.baseAddress, UInt32($0.count), &result, &count)
    }
    #expect(status == SASL_OK)
    return self.bytes(result, count) ?? []
  }
}

nonisolated(unsafe) private let fixedName = strdup("fred")
