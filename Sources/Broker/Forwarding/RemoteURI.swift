// The URI of a daemon on another host, as a client asks for it: taken apart, and checked for what a client must
// not decide.
import Streams

/// How another host is reached. libssh and libssh2 are done by the ssh program, too.
enum RemoteTransport: String, Sendable, CaseIterable {
  case tcp, tls, unix, ssh, ext

  init?(word: Substring) {
    switch word {
    case "libssh", "libssh2": self = .ssh
    default: self.init(rawValue: String(word))
    }
  }

  /// Nil: nothing that has ports.
  var usualPort: UInt16? {
    switch self {
    case .tcp: 16509
    case .tls: 16514
    case .ssh: 22
    case .unix, .ext: nil
    }
  }
}

/// `scheme+transport://user@host:port/path?query`, every part of it harmless by itself: none begins like an option
/// or holds what a shell, a file's path or a log line could stumble over.
struct RemoteURI: Equatable {
  var scheme: String
  var transport: RemoteTransport
  var user: String?
  /// In lower case, an IPv6 address without its brackets.
  var host: String
  var port: UInt16?
  /// What the daemon there is asked to open; empty: it chooses.
  var name: String
  /// The brokers this has come through, by their marks.
  var marks: [Int32] = []
  var isSession: Bool

  /// The parameter by which one broker tells the next which others the client has come through.
  static let marksParameter = "virtbroker_via"

  /// Nil: a local daemon's URI, or nothing that could be a URI at all.
  static func parse(_ text: String) -> Result<RemoteURI?, RemoteError> {
    guard isPrintable(text), let colon = text.firstIndex(of: ":") else { return .success(nil) }
    let front = text[..<colon].split(
      separator: "+", maxSplits: 1, omittingEmptySubsequences: false)
    let scheme = String(front[0])
    let rest = text[text.index(after: colon)...]
    let place = rest.hasPrefix("//") ? rest.dropFirst(2) : ""
    let authority = place.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
    let word = front.count == 2 ? front[1] : authority.isEmpty ? "unix" : "tls"
    guard let transport = RemoteTransport(word: word) else { return .success(nil) }
    guard !authority.isEmpty || transport != .unix else { return .success(nil) }
    guard scheme == "remote" || ConnectURI.schemes.contains(scheme) else { return .success(nil) }
    var uri = RemoteURI(scheme: scheme, transport: transport, host: "", name: "", isSession: false)
    var reader = Reader(text: text)
    let error = reader.read(authority: authority, behind: place.dropFirst(authority.count), &uri)
    return error.map { .failure($0) } ?? .success(uri)
  }

  /// libvirt takes a URI apart by bytes, Swift by characters: no URI has other bytes than these.
  static func isPrintable(_ text: String) -> Bool {
    text.utf8.allSatisfy { (0x21...0x7e).contains($0) }
  }

  /// Names of users: no option, no token of ssh's, nothing a shell knows.
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

  /// Letters and digits of ASCII, and those.
  static func consists(_ text: some StringProtocol, of others: String) -> Bool {
    !text.isEmpty
      && text.unicodeScalars.allSatisfy {
        $0.isASCII
          && ($0.properties.isAlphabetic || ("0"..."9").contains($0)
            || others.unicodeScalars.contains($0))
      }
  }

  /// The parts behind the scheme.
  private struct Reader {
    let text: String

    func refusal(_ why: String) -> RemoteError {
      RemoteError(.configurationUnsupported, "\(why) in URI '\(text)'")
    }

    mutating func read(
      authority: Substring, behind rest: Substring, _ uri: inout RemoteURI
    ) -> RemoteError? {
      let path = rest.prefix { $0 != "?" && $0 != "#" }
      var kept: [Substring] = []
      var given: String?
      if rest.dropFirst(path.count).first == "?" {
        let query = rest.dropFirst(path.count + 1).prefix { $0 != "#" }
        for parameter in query.split(whereSeparator: { $0 == "&" || $0 == ";" }) {
          let key = ConnectURI.decoded(parameter.prefix { $0 != "=" }).lowercased()
          let value = ConnectURI.decoded(parameter.drop { $0 != "=" }.dropFirst())
          switch key {
          case "name":
            guard given == nil else { return refusal("second parameter 'name'") }
            given = value
          case RemoteURI.marksParameter:
            guard uri.marks.isEmpty, let marks = RemoteURI.marks(value) else {
              return refusal("wrong parameter '\(key)'")
            }
            uri.marks = marks
          case _ where ConnectURI.clientParameters.contains(key):
            return RemoteError(
              .configurationUnsupported,
              "parameter '\(key)' in URI '\(text)': what is used on the broker's host to reach another "
                + "one comes from the broker's upstream_settings, never from a client")
          default: kept.append(parameter)
          }
        }
      }
      if let error = readPlace(authority, &uri) { return error }
      uri.isSession = path == "/session"
      if let given {
        guard isName(given) else { return refusal("wrong value of the parameter 'name'") }
        uri.name = given
      } else if uri.scheme != "remote" {
        uri.name =
          "\(uri.scheme)://\(path)" + (kept.isEmpty ? "" : "?" + kept.joined(separator: "&"))
      }
      return nil
    }

    private func readPlace(_ authority: Substring, _ uri: inout RemoteURI) -> RemoteError? {
      var place = authority
      if let at = place.lastIndex(of: "@") {
        let user = ConnectURI.decoded(place[..<at])
        guard RemoteURI.isUser(user) else { return refusal("user name that cannot be used") }
        uri.user = user
        place = place[place.index(after: at)...]
      }
      var port: Substring?
      var host = place
      if place.hasPrefix("[") {
        guard let end = place.firstIndex(of: "]") else { return refusal("host without its ']'") }
        host = place[place.index(after: place.startIndex)..<end]
        guard host.contains(":") else { return refusal("host that cannot be used") }
        let behind = place[place.index(after: end)...]
        guard behind.isEmpty || behind.hasPrefix(":") else {
          return refusal("host that cannot be used")
        }
        port = behind.isEmpty ? nil : behind.dropFirst()
      } else if let colon = place.firstIndex(of: ":") {
        host = place[..<colon]
        port = place[place.index(after: colon)...]
      }
      guard !host.isEmpty else { return refusal("no host, which this transport needs,") }
      guard RemoteURI.isHost(host) else { return refusal("host that cannot be used") }
      uri.host = host.lowercased()
      if let port {
        guard RemoteURI.consists(port, of: ""), let number = UInt16(port), number > 0 else {
          return refusal("port that cannot be used")
        }
        guard uri.transport.usualPort != nil else {
          return refusal("port with transport '\(uri.transport.rawValue)', which has none,")
        }
        uri.port = number
      }
      return nil
    }

    /// What another host is to open: it may go through a shell there, and be a command's argument.
    private func isName(_ name: String) -> Bool {
      guard !name.isEmpty else { return true }
      guard RemoteURI.isPrintable(name), let colon = name.firstIndex(of: ":") else { return false }
      let first = name.unicodeScalars.first
      return RemoteURI.consists(name[..<colon], of: "+") && first?.properties.isAlphabetic == true
    }
  }

  // MARK: Marks

  /// More brokers than this in a row are a circle, or a joke.
  static let mostMarks = 8

  private static func marks(_ text: String) -> [Int32]? {
    let marks = text.split(separator: ",", omittingEmptySubsequences: false).map { word in
      word.utf8.count == 8 ? Int32(word, radix: 16) : nil
    }
    // In the range of marks: nothing else may be made of them.
    guard marks.count <= mostMarks, marks.allSatisfy({ $0.map(Mark.isOne) ?? false }) else {
      return nil
    }
    return marks.compactMap { $0 }
  }

  /// What goes on to the next broker, if there is one: with the marks of those before it.
  func name(through marks: [Int32]) -> String {
    guard case .success(.some) = RemoteURI.parse(name) else { return name }
    let fragment = name.firstIndex(of: "#") ?? name.endIndex
    let front = name[..<fragment]
    let words = marks.map { String($0, radix: 16) }.joined(separator: ",")
    return "\(front)\(front.contains("?") ? "&" : "?")\(RemoteURI.marksParameter)=\(words)"
  }
}

/// By what a broker knows itself: the number of a feature that no daemon has but this one.
enum Mark {
  /// Far from every feature libvirt will ever have.
  private static let range: ClosedRange<Int32> = 0x4000_0000...0x7fff_ffff

  static func random() -> Int32 { Int32.random(in: range) }
  static func isOne(_ number: Int32) -> Bool { range.contains(number) }
}
