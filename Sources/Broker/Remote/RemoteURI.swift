// The URI of a daemon on another host, as a client requests it: parsed, and checked for what a client must not decide.
import Streams

/// How to reach another host. The ssh program also serves the transports libssh and libssh2.
enum RemoteTransport: String, Sendable, CaseIterable {
  case tcp, tls, unix, ssh, ext

  init?(word: Substring) {
    switch word {
    case "libssh", "libssh2": self = .ssh
    default: self.init(rawValue: String(word))
    }
  }

  /// Nil: the transport has no ports.
  var usualPort: UInt16? {
    switch self {
    case .tcp: 16509
    case .tls: 16514
    case .ssh: 22
    case .unix, .ext: nil
    }
  }
}

/// `scheme+transport://user@host:port/path?query`, of which every part is harmless: none begins like an option or
/// contains characters that a shell, a file's path or a log line could misinterpret.
struct RemoteURI: Equatable {
  /// What the other host opens for the client.
  enum Target: Equatable {
    /// The daemon there chooses the driver.
    case any
    /// One of the daemons of that host.
    case local(ConnectURI)
    /// A further host, as seen from that one.
    indirect case remote(RemoteURI)
  }

  var scheme: String
  var transport: RemoteTransport
  var user: String?
  /// In lower case; an IPv6 address without its brackets.
  var host: String
  var port: UInt16?
  var path = ""
  /// The parameter `name`, not the path, names what is opened.
  var isNamed = false
  var target = Target.any
  /// The marks of the brokers that the client has come through.
  var marks: [Int32] = []

  /// Whether the other host opens a user's daemon. With the parameter `name`, the path has no meaning.
  var isSession: Bool {
    switch target {
    case .local(let uri): uri.isSession
    case .any: !isNamed && path == "/session"
    case .remote: false
    }
  }

  /// The parameter by which one broker tells the next the marks of the brokers before it.
  static let marksParameter = "virtbroker_via"

  /// How other hosts may be reached from another host. What is resolved there with that host's privileges must not be
  /// a client's choice: a command (`ext`), or a socket of that host, on which the client would be that host's root.
  private static let furtherTransports: Set<RemoteTransport> = [.tcp, .tls, .ssh]

  /// Nil: it is the URI of a local daemon, or no URI at all.
  static func parse(_ text: String) -> Result<RemoteURI?, RemoteError> { parse(text, depth: 0) }

  /// - Parameter depth: number of other hosts before this one.
  private static func parse(_ text: String, depth: Int) -> Result<RemoteURI?, RemoteError> {
    guard ConnectURI.isWellFormed(text), let colon = text.firstIndex(of: ":") else {
      return .success(nil)
    }
    let front = text[..<colon].split(
      separator: "+", maxSplits: 1, omittingEmptySubsequences: false)
    let scheme = String(front[0])
    let rest = text[text.index(after: colon)...]
    let place = rest.hasPrefix("//") ? rest.dropFirst(2) : ""
    let authority = place.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
    let word = front.count == 2 ? front[1] : authority.isEmpty ? "unix" : "tls"
    guard let transport = RemoteTransport(word: word) else { return .success(nil) }
    guard !authority.isEmpty || transport != .unix else { return .success(nil) }
    guard scheme == "remote" || ConnectURI.paths[scheme] != nil else { return .success(nil) }
    let reader = Reader(text: text, depth: depth)
    guard depth < mostHosts else {
      return .failure(reader.error(.hostTooManyHosts, [mostHosts]))
    }
    guard depth == 0 || furtherTransports.contains(transport) else {
      return .failure(reader.error(.hostTransportBehindHost, [word]))
    }
    let uri = RemoteURI(scheme: scheme, transport: transport, host: "")
    return reader.read(authority: authority, behind: place.dropFirst(authority.count), uri)
      .map { $0 }
  }

  /// User names: no options, no tokens of ssh, no characters with a meaning in a shell.
  static func isUser(_ text: some StringProtocol) -> Bool {
    consists(text, of: "._@+-") && text.utf8.count <= 128 && text.utf8.first != UInt8(ascii: "-")
  }

  /// A name or an IPv4 address, or with colons in it an IPv6 address.
  static func isHost(_ text: some StringProtocol) -> Bool {
    guard let first = text.utf8.first, text.utf8.count <= 253 else { return false }
    if text.contains(":") {
      return text.utf8.allSatisfy {
        ("0"..."9").contains(UnicodeScalar($0)) || ("a"..."f").contains(UnicodeScalar($0))
          || ("A"..."F").contains(UnicodeScalar($0)) || $0 == UInt8(ascii: ":")
          || $0 == UInt8(ascii: ".")
      }
    }
    return consists(text, of: "._-") && first != UInt8(ascii: "-") && first != UInt8(ascii: ".")
  }

  /// Whether the text consists of ASCII letters and digits and the characters in `others`.
  static func consists(_ text: some StringProtocol, of others: String) -> Bool {
    !text.isEmpty
      && text.unicodeScalars.allSatisfy {
        $0.isASCII
          && ($0.properties.isAlphabetic || ("0"..."9").contains($0)
            || others.unicodeScalars.contains($0))
      }
  }

  /// The parts after the scheme.
  private struct Reader {
    let text: String
    let depth: Int

    /// - Parameter definition: its last placeholder takes the URI.
    func error(
      _ definition: MessageDefinition, _ arguments: [any CustomStringConvertible] = []
    ) -> RemoteError {
      RemoteError(
        .configurationUnsupported, Message(definition, arguments + [ConnectURI.shown(text)]))
    }

    func read(
      authority: Substring, behind rest: Substring, _ uri: RemoteURI
    ) -> Result<RemoteURI, RemoteError> {
      var uri = uri
      let rest = rest.prefix { $0 != "#" }
      uri.path = String(rest.prefix { $0 != "?" })
      guard let parameters = URIParameters.parse(rest.dropFirst(uri.path.utf8.count + 1)) else {
        return .failure(ConnectURI.unparsable(text))
      }
      var kept: [Substring] = []
      var name: String?
      for parameter in parameters {
        switch parameter.key {
        case "name":
          guard name == nil else { return .failure(error(.hostSecondName)) }
          name = parameter.value
        case RemoteURI.marksParameter:
          guard uri.marks.isEmpty, let marks = RemoteURI.marks(parameter.value) else {
            return .failure(error(.hostInvalidParameter, [parameter.key]))
          }
          uri.marks = marks
        case let key where ConnectURI.clientParameters.contains(key):
          return .failure(error(.hostParameterOfClient, [key]))
        default: kept.append(parameter.text)
        }
      }
      if let error = readPlace(authority, &uri) { return .failure(error) }
      uri.isNamed = name != nil
      let query = kept.isEmpty ? "" : "?" + kept.joined(separator: "&")
      return target(name, uri, query).map { target in
        uri.target = target
        return uri
      }
    }

    /// Parses what the other host opens. That goes to a daemon there, or through a shell and to a command, so the
    /// checks are as strict as for what this host opens.
    private func target(
      _ name: String?, _ uri: RemoteURI, _ query: String
    ) -> Result<Target, RemoteError> {
      let isRemote = uri.scheme == "remote"
      guard let name else {
        return isRemote
          ? .success(.any)
          : ConnectURI.parse("\(uri.scheme)://\(uri.path)\(query)").map { .local($0) }
      }
      guard !name.isEmpty else { return .success(.any) }
      guard ConnectURI.isWellFormed(name) else {
        return .failure(error(.hostInvalidParameter, ["name"]))
      }
      return RemoteURI.parse(name, depth: depth + 1).flatMap { next in
        next.map { .success(.remote($0)) } ?? ConnectURI.parse(name).map { .local($0) }
      }
    }

    private func readPlace(_ authority: Substring, _ uri: inout RemoteURI) -> RemoteError? {
      var place = authority
      if let at = place.lastIndex(of: "@") {
        let user = String(decoding: URIParameters.decoded(place[..<at]), as: UTF8.self)
        guard RemoteURI.isUser(user) else { return error(.hostInvalidUser) }
        uri.user = user
        place = place[place.index(after: at)...]
      }
      var port: Substring?
      var host = place
      if place.hasPrefix("[") {
        guard let end = place.firstIndex(of: "]") else { return error(.hostBracketMissing) }
        host = place[place.index(after: place.startIndex)..<end]
        guard host.contains(":") else { return error(.hostInvalid) }
        let behind = place[place.index(after: end)...]
        guard behind.isEmpty || behind.hasPrefix(":") else {
          return error(.hostInvalid)
        }
        port = behind.isEmpty ? nil : behind.dropFirst()
      } else if let colon = place.firstIndex(of: ":") {
        host = place[..<colon]
        port = place[place.index(after: colon)...]
      }
      guard !host.isEmpty else { return error(.hostMissing) }
      guard RemoteURI.isHost(host) else { return error(.hostInvalid) }
      uri.host = host.lowercased()
      if let port {
        guard RemoteURI.consists(port, of: ""), let number = UInt16(port), number > 0 else {
          return error(.hostInvalidPort)
        }
        guard uri.transport.usualPort != nil else {
          return error(.hostPortNotUsed, [uri.transport.rawValue])
        }
        uri.port = number
      }
      return nil
    }
  }

  // MARK: Marks of brokers

  /// More brokers in a row than this form a loop, or are a joke.
  static let mostMarks = 8

  private static func marks(_ text: String) -> [Int32]? {
    let marks = text.split(separator: ",", omittingEmptySubsequences: false).map { word in
      word.utf8.count == 8 ? Int32(word, radix: 16) : nil
    }
    // Must be in the range of marks: no other value may pass.
    guard marks.count <= mostMarks, marks.allSatisfy({ $0.map(Mark.isOne) ?? false }) else {
      return nil
    }
    return marks.compactMap { $0 }
  }

  // MARK: Text

  /// Limit of the hosts in a row that a URI can name.
  static let mostHosts = 8

  /// The name for the other host to open. If that is a further host, a broker there learns the marks of those before.
  ///
  /// It is assembled from its checked parts, so the other host parses nothing that was not parsed here.
  func name(through marks: [Int32]) -> String {
    switch target {
    case .any: ""
    case .local(let uri): uri.text
    case .remote(let next): next.text(through: marks)
    }
  }

  private func text(through marks: [Int32]) -> String {
    var text = "\(scheme)+\(transport.rawValue)://"
    if let user { text += URIParameters.encoded(user) + "@" }
    text += host.contains(":") ? "[\(host)]" : host
    if let port { text += ":\(port)" }
    var parameters: [String] = []
    switch target {
    case .local(let uri) where !isNamed:
      // Its path and its own parameters.
      let parts = uri.text.split(separator: "?", maxSplits: 1)
      text += path
      if parts.count == 2 { parameters.append(String(parts[1])) }
    case .any where !isNamed: text += isSession ? "/session" : "/"
    case .any, .local, .remote:
      text += "/"
      parameters.append("name=\(URIParameters.encoded(name(through: [])))")
    }
    if !marks.isEmpty {
      let words = marks.map { String($0, radix: 16) }.joined(separator: ",")
      parameters.append("\(RemoteURI.marksParameter)=\(words)")
    }
    return parameters.isEmpty ? text : text + "?" + parameters.joined(separator: "&")
  }
}

/// The mark by which a broker recognises itself: the number of a feature that no other daemon has.
enum Mark {
  /// Far from every feature libvirt will ever have.
  private static let range: ClosedRange<Int32> = 0x4000_0000...0x7fff_ffff

  static func random() -> Int32 { Int32.random(in: range) }
  static func isOne(_ number: Int32) -> Bool { range.contains(number) }
}
