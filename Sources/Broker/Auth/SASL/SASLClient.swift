// The broker's own SASL authentication at another host.
import CSASL
import Glibc
import Streams

/// The library's exchange with one server. Its steps may block and run on the blocking pool, one at a time. Afterwards
/// it encodes and decodes on the loop's thread, if a security layer was negotiated.
///
/// It never runs on two threads at once: no second step is under way, and no step follows the last.
final class SASLClient: SASLLayer, @unchecked Sendable {
  /// The result of a step.
  enum Progress: Sendable, Equatable {
    /// The next data to send; with the mechanism, the first time.
    case says([UInt8]?, mechanism: String)
    case failed(Message)
  }

  private var connection: OpaquePointer?
  private let host: String
  private let surroundings: SASLConnection
  private let callbacks: UnsafeMutablePointer<sasl_callback_t>
  private let user: UnsafeMutablePointer<CChar>?
  private let secret: UnsafeMutablePointer<sasl_secret_t>?
  private(set) var isDone = false
  private var stepCount = 0

  init(host: String, _ surroundings: SASLConnection, _ credentials: UpstreamCredentials?) {
    self.host = host
    self.surroundings = surroundings
    user = credentials.flatMap { strdup($0.user) }
    secret = credentials.map { SASLClient.secret(Array($0.password.utf8)) }
    callbacks = .allocate(capacity: 4)
    let name: SASLSimple = { context, _, result, length in
      guard let context, let result else { return SASL_BADPARAM }
      return Unmanaged<SASLClient>.fromOpaque(context)._withUnsafeGuaranteedRef {
        guard let user = $0.user else { return SASL_FAIL }
        result.pointee = UnsafePointer(user)
        length?.pointee = UInt32(clamping: strlen(user))
        return SASL_OK
      }
    }
    let password: SASLSecret = { _, context, _, result in
      guard let context, let result else { return SASL_BADPARAM }
      return Unmanaged<SASLClient>.fromOpaque(context)._withUnsafeGuaranteedRef {
        guard let secret = $0.secret else { return SASL_FAIL }
        result.pointee = secret
        return SASL_OK
      }
    }
    // Without credentials the client can use only mechanisms with their own, for example GSSAPI.
    let own = Unmanaged.passUnretained(self).toOpaque()
    let list =
      credentials == nil
      ? []
      : [
        (SASL_CB_USER, unsafeBitCast(name, to: SASLCallback.self)),
        (SASL_CB_AUTHNAME, unsafeBitCast(name, to: SASLCallback.self)),
        (SASL_CB_PASS, unsafeBitCast(password, to: SASLCallback.self)),
      ]
    for (index, (id, call)) in list.enumerated() {
      (callbacks + index).initialize(to: sasl_callback_t(id: UInt(id), proc: call, context: own))
    }
    (callbacks + list.count).initialize(
      to: sasl_callback_t(id: UInt(SASL_CB_LIST_END), proc: nil, context: nil))
  }

  deinit {
    sasl_dispose(&connection)
    callbacks.deallocate()
    free(user)
    free(secret)
  }

  /// The password in the C library's memory, with a zero behind it.
  private static func secret(_ password: [UInt8]) -> UnsafeMutablePointer<sasl_secret_t> {
    let room = MemoryLayout<sasl_secret_t>.size + password.count
    guard let memory = calloc(1, room) else { preconditionFailure("no memory for a password") }
    let secret = memory.bindMemory(to: sasl_secret_t.self, capacity: 1)
    secret.pointee.len = UInt(password.count)
    let offset = MemoryLayout<sasl_secret_t>.offset(of: \.data) ?? 0
    password.withUnsafeBytes { bytes in
      if let base = bytes.baseAddress {
        (memory + offset).copyMemory(from: base, byteCount: bytes.count)
      }
    }
    return secret
  }

  private func detail(_ status: Int32) -> String { SASLService.words(status, of: connection) }

  // MARK: Steps, on the blocking pool

  /// Chooses one of the server's mechanisms, which are separated by commas or blanks.
  func start(_ mechanisms: String) -> Progress {
    guard SASLService.clientStarted == SASL_OK else {
      return .failed(Message(.saslClientNotStarted, [detail(SASLService.clientStarted)]))
    }
    var status = sasl_client_new(
      SASLService.name, host, surroundings.local, surroundings.remote, callbacks,
      UInt32(SASL_SUCCESS_DATA), &connection)
    guard status == SASL_OK, let connection else {
      return .failed(Message(.saslSessionNotCreated, [detail(status)]))
    }
    var properties = sasl_security_properties_t()
    properties.maxbufsize = UInt32(SASLService.blockBytes)
    properties.security_flags = UInt32(SASL_SEC_NOANONYMOUS)
    if case .tls(let bits) = surroundings.cover {
      var strength = sasl_ssf_t(bits)
      status = sasl_setprop(connection, SASL_SSF_EXTERNAL, &strength)
    }
    if surroundings.cover == .none {
      // libvirt's own limits.
      properties.min_ssf = sasl_ssf_t(SASLSettings().leastTCPStrength)
      properties.max_ssf = 100_000
      properties.security_flags |= UInt32(SASL_SEC_NOPLAINTEXT)
    }
    if status == SASL_OK { status = sasl_setprop(connection, SASL_SEC_PROPS, &properties) }
    guard status == SASL_OK else {
      return .failed(Message(.saslPropertiesNotSet, [detail(status)]))
    }
    var words: UnsafePointer<CChar>?
    var count: UInt32 = 0
    var mechanism: UnsafePointer<CChar>?
    status = sasl_client_start(
      connection, mechanisms.replacing(",", with: " "), nil, &words, &count, &mechanism)
    guard status == SASL_OK || status == SASL_CONTINUE, let mechanism else {
      return .failed(
        Message(.saslMechanismsNotUsable, [String(mechanisms.prefix(200)), detail(status)]))
    }
    isDone = status == SASL_OK
    return .says(SASLClient.bytes(words, count), mechanism: String(cString: mechanism))
  }

  /// Processes the server's data.
  func step(_ data: [UInt8]?) -> Progress {
    guard let connection else { return .failed(Message(.exchangeNotBegun)) }
    stepCount += 1
    var words: UnsafePointer<CChar>?
    var count: UInt32 = 0
    let status = ((data ?? []).map { CChar(bitPattern: $0) } + [0]).withUnsafeBufferPointer {
      sasl_client_step(
        connection, data == nil ? nil : $0.baseAddress, UInt32(clamping: data?.count ?? 0), nil,
        &words, &count)
    }
    guard status == SASL_OK || status == SASL_CONTINUE else {
      return .failed(Message(.saslStepFailed, [stepCount, detail(status)]))
    }
    isDone = status == SASL_OK
    return .says(SASLClient.bytes(words, count), mechanism: "")
  }

  private static func bytes(_ words: UnsafePointer<CChar>?, _ count: UInt32) -> [UInt8]? {
    words.map { words in
      UnsafeBufferPointer(start: words, count: Int(count)).map { UInt8(bitPattern: $0) }
    }
  }

  /// Strength of the security layer in bits, once the mechanism is done.
  var strength: Int? {
    var value: UnsafeRawPointer?
    guard let connection, sasl_getprop(connection, SASL_SSF, &value) == SASL_OK else { return nil }
    return value.map { Int($0.loadUnaligned(as: sasl_ssf_t.self)) }
  }

  // MARK: The security layer, on the loop's thread

  var mostPlain: Int { SASLService.mostPlain(connection) }

  func encode(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    SASLService.coded(connection, bytes) { sasl_encode($0, $1, $2, $3, $4) }
  }

  func decode(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    SASLService.coded(connection, bytes) { sasl_decode($0, $1, $2, $3, $4) }
  }
}

/// Encodes and decodes the data of a connection.
protocol SASLLayer: AnyObject {
  /// Limit of one block's content in bytes.
  var mostPlain: Int { get }
  /// Encodes `bytes` as a block. The library owns the result, which is valid until the next call.
  func encode(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer?
  /// Decodes a whole block. The library owns the result, which is valid until the next call.
  func decode(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer?
}

extension SASLExchange: SASLLayer {}

extension SASLService {
  static func mostPlain(_ connection: OpaquePointer?) -> Int {
    var value: UnsafeRawPointer?
    guard let connection, sasl_getprop(connection, SASL_MAXOUTBUF, &value) == SASL_OK,
      let most = value?.loadUnaligned(as: UInt32.self), most > 0
    else { return blockBytes }
    return min(Int(most), blockBytes)
  }

  static func coded(
    _ connection: OpaquePointer?, _ bytes: UnsafeRawBufferPointer,
    _ call: (
      OpaquePointer, UnsafePointer<CChar>?, UInt32, UnsafeMutablePointer<UnsafePointer<CChar>?>,
      UnsafeMutablePointer<UInt32>
    ) -> Int32
  ) -> UnsafeRawBufferPointer? {
    guard let connection else { return nil }
    var result: UnsafePointer<CChar>?
    var count: UInt32 = 0
    let status = call(
      connection, bytes.baseAddress?.assumingMemoryBound(to: CChar.self),
      UInt32(clamping: bytes.count), &result, &count)
    guard status == SASL_OK else { return nil }
    return UnsafeRawBufferPointer(start: result, count: result == nil ? 0 : Int(count))
  }
}

/// The type with which every callback is declared, whatever its arguments are.
private typealias SASLCallback = @convention(c) () -> Int32
private typealias SASLSimple =
  @convention(c) (
    UnsafeMutableRawPointer?, Int32, UnsafeMutablePointer<UnsafePointer<CChar>?>?,
    UnsafeMutablePointer<UInt32>?
  ) -> Int32
private typealias SASLSecret =
  @convention(c) (
    OpaquePointer?, UnsafeMutableRawPointer?, Int32,
    UnsafeMutablePointer<UnsafeMutablePointer<sasl_secret_t>?>?
  ) -> Int32
