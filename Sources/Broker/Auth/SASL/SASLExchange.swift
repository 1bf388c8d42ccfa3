// The SASL authentication of one client, step by step.
import CSASL
import Glibc
import Streams

/// The library's exchange with one client. Its steps may block and run on the blocking pool, one at a time. Afterwards
/// it encodes and decodes on the loop's thread, if a security layer was negotiated.
///
/// It never runs on two threads at once: the session has no second step under way, and no step follows the last.
final class SASLExchange: @unchecked Sendable {
  /// The result of a step.
  enum Progress: Sendable, Equatable {
    /// The client has to answer this challenge.
    case continuesSoon([UInt8]?)
    /// The client is `user`. The data is the last to send to it.
    case done([UInt8]?, user: String, strength: Int)
    /// For the log; the client never gets it.
    case failed(Message)
  }

  private var connection: OpaquePointer?
  private let callbacks: UnsafeMutablePointer<sasl_callback_t>
  private let hostName: String?
  private let surroundings: SASLConnection
  private let leastStrength: Int
  /// The library's log messages since the last call of `detail`.
  private var remarks: [String] = []
  private(set) var mechanism = ""
  private(set) var stepCount = 0

  init(hostName: String?, _ surroundings: SASLConnection, leastStrength: Int) {
    self.hostName = hostName
    self.surroundings = surroundings
    self.leastStrength = leastStrength
    callbacks = .allocate(capacity: 2)
    let log: SASLLog = { context, level, message in
      guard let context, let message, level <= SASL_LOG_WARN, level != SASL_LOG_NONE else {
        return SASL_OK
      }
      Unmanaged<SASLExchange>.fromOpaque(context)._withUnsafeGuaranteedRef {
        $0.remark(String(cString: message))
      }
      return SASL_OK
    }
    callbacks.initialize(
      to: sasl_callback_t(
        id: UInt(SASL_CB_LOG), proc: unsafeBitCast(log, to: SASLCallback.self),
        context: Unmanaged.passUnretained(self).toOpaque()))
    (callbacks + 1).initialize(
      to: sasl_callback_t(id: UInt(SASL_CB_LIST_END), proc: nil, context: nil))
  }

  deinit {
    sasl_dispose(&connection)
    callbacks.deallocate()
  }

  private func remark(_ text: String) {
    if remarks.count < 8 { remarks.append(text) }
  }

  /// Why the library returned `status`, with what it has logged about it.
  private func detail(_ status: Int32) -> String {
    var words = SASLService.words(status, of: connection)
    for remark in remarks where !words.contains(remark) { words += "; \(remark)" }
    remarks = []
    return words
  }

  // MARK: Steps, on the blocking pool

  /// The mechanisms the client may choose from, separated by commas.
  func begin() -> Result<String, Message> {
    // SASL_SUCCESS_DATA: a mechanism's last data goes with the reply that reports success.
    var status = sasl_server_new(
      SASLService.name, hostName, nil, surroundings.local, surroundings.remote, callbacks,
      UInt32(SASL_SUCCESS_DATA), &connection)
    guard status == SASL_OK, let connection else {
      return .failure(Message(.saslSessionNotCreated, [detail(status)]))
    }
    if case .tls(let bits) = surroundings.cover {
      var strength = sasl_ssf_t(bits)
      status = sasl_setprop(connection, SASL_SSF_EXTERNAL, &strength)
      guard status == SASL_OK else {
        return .failure(Message(.saslPropertiesNotSet, [detail(status)]))
      }
    }
    var properties = sasl_security_properties_t()
    properties.maxbufsize = UInt32(SASLService.blockBytes)
    // An anonymous user has no identity.
    properties.security_flags = UInt32(SASL_SEC_NOANONYMOUS)
    if surroundings.cover == .none {
      properties.min_ssf = sasl_ssf_t(clamping: leastStrength)
      properties.max_ssf = 100_000
      properties.security_flags |= UInt32(SASL_SEC_NOPLAINTEXT)
    }
    status = sasl_setprop(connection, SASL_SEC_PROPS, &properties)
    guard status == SASL_OK else {
      return .failure(Message(.saslPropertiesNotSet, [detail(status)]))
    }
    var list: UnsafePointer<CChar>?
    status = sasl_listmech(connection, nil, "", ",", "", &list, nil, nil)
    guard status == SASL_OK, let list, list.pointee != 0 else {
      return .failure(
        Message(.saslNoMechanism, [detail(status == SASL_OK ? SASL_NOMECH : status)]))
    }
    return .success(String(cString: list))
  }

  /// Processes the mechanism that the client has chosen, and its initial data if there is any.
  func start(_ mechanism: String, _ data: [UInt8]?) -> Progress {
    self.mechanism = mechanism
    return step(data) { connection, data, count, answer, answerCount in
      sasl_server_start(connection, mechanism, data, count, answer, answerCount)
    }
  }

  /// Processes the client's answer.
  func step(_ data: [UInt8]?) -> Progress {
    step(data) { connection, data, count, answer, answerCount in
      sasl_server_step(connection, data, count, answer, answerCount)
    }
  }

  private func step(
    _ data: [UInt8]?,
    _ call: (
      OpaquePointer, UnsafePointer<CChar>?, UInt32, UnsafeMutablePointer<UnsafePointer<CChar>?>,
      UnsafeMutablePointer<UInt32>
    ) -> Int32
  ) -> Progress {
    guard let connection else { return .failed(Message(.exchangeNotBegun)) }
    stepCount += 1
    var answer: UnsafePointer<CChar>?
    var answerCount: UInt32 = 0
    var status: Int32
    if let data {
      // Empty data is not the same as none: it has an address. The zero behind it is for mechanisms that treat their
      // data as strings.
      status = (data.map { CChar(bitPattern: $0) } + [0]).withUnsafeBufferPointer {
        call(connection, $0.baseAddress, UInt32(clamping: data.count), &answer, &answerCount)
      }
    } else {
      status = call(connection, nil, 0, &answer, &answerCount)
    }
    guard status == SASL_OK || status == SASL_CONTINUE else {
      return .failed(Message(.saslStepFailed, [stepCount, detail(status)]))
    }
    let words = answer.map { answer in
      UnsafeBufferPointer(start: answer, count: Int(answerCount)).map { UInt8(bitPattern: $0) }
    }
    guard (words?.count ?? 0) <= SASLService.blockBytes else {
      return .failed(Message(.saslAnswerTooLong, [stepCount, SASLService.blockBytes]))
    }
    if status == SASL_CONTINUE { return .continuesSoon(words) }
    return finish(connection, words)
  }

  private func finish(_ connection: OpaquePointer, _ words: [UInt8]?) -> Progress {
    var value: UnsafeRawPointer?
    var status = sasl_getprop(connection, SASL_USERNAME, &value)
    guard status == SASL_OK, let name = value?.assumingMemoryBound(to: CChar.self),
      let user = String(validatingCString: name), !user.isEmpty
    else { return .failed(Message(.saslUserNameNotRead, [detail(status)])) }
    value = nil
    status = sasl_getprop(connection, SASL_SSF, &value)
    guard status == SASL_OK, let strength = value?.loadUnaligned(as: sasl_ssf_t.self) else {
      return .failed(Message(.saslStrengthNotRead, [detail(status)]))
    }
    if surroundings.cover == .none, Int(strength) < leastStrength {
      return .failed(Message(.saslLayerTooWeak, [user, strength, leastStrength]))
    }
    return .done(words, user: user, strength: Int(strength))
  }

  // MARK: The security layer, on the loop's thread

  /// Limit of one block's content in bytes.
  var mostPlain: Int {
    var value: UnsafeRawPointer?
    guard let connection, sasl_getprop(connection, SASL_MAXOUTBUF, &value) == SASL_OK,
      let most = value?.loadUnaligned(as: UInt32.self), most > 0
    else { return SASLService.blockBytes }
    return min(Int(most), SASLService.blockBytes)
  }

  /// Encodes `bytes` as a block. The library owns the result, which is valid until the next call.
  func encode(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    coded(bytes) { sasl_encode($0, $1, $2, $3, $4) }
  }

  /// Decodes a whole block. The library owns the result, which is valid until the next call.
  func decode(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    coded(bytes) { sasl_decode($0, $1, $2, $3, $4) }
  }

  private func coded(
    _ bytes: UnsafeRawBufferPointer,
    _ call: (
      OpaquePointer, UnsafePointer<CChar>?, UInt32, UnsafeMutablePointer<UnsafePointer<CChar>?>,
      UnsafeMutablePointer<UInt32>
    ) -> Int32
  ) -> UnsafeRawBufferPointer? {
    defer { remarks = [] }
    return SASLService.coded(connection, bytes, call)
  }
}

/// The type with which every callback is declared, whatever its arguments are.
private typealias SASLCallback = @convention(c) () -> Int32
private typealias SASLLog =
  @convention(c) (UnsafeMutableRawPointer?, Int32, UnsafePointer<CChar>?) -> Int32
