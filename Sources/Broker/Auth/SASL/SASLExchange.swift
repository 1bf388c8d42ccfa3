// One client's proof of who it is, piece by piece.
import CSASL
import Glibc
import Streams

/// A conversation of the library with one client. Its steps may block and are done away from the loop, one at
/// a time; when it is over it encodes and decodes on the loop's thread, if that was agreed on.
///
/// Never on two threads at a time: the session has no second step under way, and none after the last.
final class SASLExchange: @unchecked Sendable {
  /// What a step came to.
  enum Progress: Sendable, Equatable {
    /// The client has to answer this.
    case continuesSoon([UInt8]?)
    /// The client is `user`; these are the last words to it.
    case done([UInt8]?, user: String, strength: Int)
    /// For the log, and never for the client.
    case failed(Message)
  }

  private var connection: OpaquePointer?
  private let callbacks: UnsafeMutablePointer<sasl_callback_t>
  private let hostName: String?
  private let surroundings: SASLConnection
  private let leastStrength: Int
  /// What the library had to say since it was last asked.
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

  /// Why the library returned `status`, with everything it has logged about it.
  private func detail(_ status: Int32) -> String {
    var words = SASLService.words(status, of: connection)
    for remark in remarks where !words.contains(remark) { words += "; \(remark)" }
    remarks = []
    return words
  }

  // MARK: Steps, away from the loop

  /// The mechanisms the client may choose from, with commas between them.
  func begin() -> Result<String, Message> {
    // No flag would make a mechanism say nothing of success: its last words go with the reply.
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

  /// The client has chosen a mechanism, and may have said something with it.
  func start(_ mechanism: String, _ data: [UInt8]?) -> Progress {
    self.mechanism = mechanism
    return step(data) { connection, data, count, answer, answerCount in
      sasl_server_start(connection, mechanism, data, count, answer, answerCount)
    }
  }

  /// The client has answered.
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
      // An empty piece is not the same as none: it has an address. The zero behind it is for mechanisms
      // that take their pieces for strings.
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

  /// What one block may hold in the clear.
  var mostPlain: Int {
    var value: UnsafeRawPointer?
    guard let connection, sasl_getprop(connection, SASL_MAXOUTBUF, &value) == SASL_OK,
      let most = value?.loadUnaligned(as: UInt32.self), most > 0
    else { return SASLService.blockBytes }
    return min(Int(most), SASLService.blockBytes)
  }

  /// `bytes` as a block. The result is the library's, and valid until the next call.
  func encode(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    coded(bytes) { sasl_encode($0, $1, $2, $3, $4) }
  }

  /// What a whole block holds. The result is the library's, and valid until the next call.
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

/// What every callback is declared as, whatever its arguments are.
private typealias SASLCallback = @convention(c) () -> Int32
private typealias SASLLog =
  @convention(c) (UnsafeMutableRawPointer?, Int32, UnsafePointer<CChar>?) -> Int32
