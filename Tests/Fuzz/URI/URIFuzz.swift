// Any bytes as the URI that a client opens: a URI that the broker passes on to a daemon or to another host is
// harmless there by libvirt's own parsing.
//
// Built together with the sources that parse URIs, and with Streams as a module.
import Streams

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzURI(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let text = String(decoding: UnsafeBufferPointer(start: data, count: size), as: UTF8.self)
  switch RemoteURI.parse(text) {
  case .failure(let error): check(error)
  case .success(let uri?):
    let marks: [Int32] = [0x4000_0001]
    let name = uri.name(through: marks)
    check(opened: Array(name.utf8), by: 0)
    if case .remote(let next) = uri.target {
      guard case .success(let again?) = RemoteURI.parse(name) else {
        // A URI at the maximum length may become too long when it is encoded again.
        precondition(name.utf8.count > ConnectURI.longest, "\(name) is refused by the next broker")
        break
      }
      precondition(again.marks == marks, "\(name) has other marks")
      precondition(
        again.host == next.host && again.port == next.port && again.user == next.user
          && again.transport == next.transport && again.isSession == next.isSession
          && again.name(through: []) == next.name(through: []), "\(name) means something else")
    }
  case .success(nil):
    switch ConnectURI.parse(text) {
    case .failure(let error): check(error)
    case .success(let uri): check(opened: Array(uri.text.utf8), by: nil)
    }
  }
  return 0
}

private func check(_ error: RemoteError) {
  let message = error.message ?? ""
  precondition(
    message.utf8.allSatisfy { (0x20...0x7e).contains($0) } && message.utf8.count < 1200,
    "an error is not bounded and printable: \(message)")
}

// MARK: libvirt's reading

/// Fails if this URI would make a daemon do more than open one of its own drivers or, on another host, connect to a
/// further host. It works on bytes as libvirt does, and shares no code with the broker's parser.
/// - Parameter depth: the number of other hosts before this one; nil if a daemon of this host opens the URI.
private func check(opened bytes: [UInt8], by depth: Int?) {
  guard !bytes.isEmpty else { return }
  precondition(bytes.allSatisfy { (0x21...0x7e).contains($0) }, "not printable")
  let scheme = bytes.prefix { $0 != UInt8(ascii: ":") }
  precondition(scheme.count < bytes.count, "no scheme")
  let words = scheme.split(
    separator: UInt8(ascii: "+"), maxSplits: 1, omittingEmptySubsequences: false)
  var rest = bytes.dropFirst(scheme.count + 1).prefix { $0 != UInt8(ascii: "#") }
  var server: ArraySlice<UInt8> = []
  if rest.starts(with: "//".utf8) {
    rest = rest.dropFirst(2)
    server = rest.prefix { $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "?") }
    rest = rest.dropFirst(server.count)
  }
  let path = rest.prefix { $0 != UInt8(ascii: "?") }
  let parameters = parameters(of: rest.dropFirst(path.count + 1))
  let dangerous: Set<String> = [
    "socket", "mode", "proxy", "command", "netcat", "auth", "authfile", "keyfile", "sshauth",
    "known_hosts", "known_hosts_verify", "no_verify", "no_sanity", "no_tty", "pkipath",
    "tls_priority", "root",
  ]
  for (key, value) in parameters {
    let key = String(decoding: key, as: UTF8.self).lowercased()
    precondition(!dangerous.contains(key), "it carries \(key)")
    guard key == "name" else { continue }
    precondition(!server.isEmpty, "a local URI with a name")
    check(opened: value, by: (depth ?? 0) + 1)
  }
  if server.isEmpty {
    precondition(words.count == 1, "a transport without a server")
    let known = ["/system", "/session", "/default", "/", ""]
    precondition(known.contains { path.elementsEqual($0.utf8) }, "another path")
  } else {
    precondition(depth != nil, "a daemon of this host would open another one")
    precondition((depth ?? 0) < 9, "a row without an end")
    let transport = words.count == 2 ? String(decoding: words[1], as: UTF8.self) : "tls"
    precondition(["tcp", "tls", "ssh"].contains(transport), "the transport \(transport)")
    precondition(server.first != UInt8(ascii: "-"), "an option in the place of a host")
  }
}

/// Separates and decodes parameters as libvirt does; strings end at a NUL as in C.
private func parameters(of query: ArraySlice<UInt8>) -> [(key: [UInt8], value: [UInt8])] {
  var found: [(key: [UInt8], value: [UInt8])] = []
  var rest = query
  while !rest.isEmpty {
    let end =
      rest.firstIndex(of: UInt8(ascii: "&")) ?? rest.firstIndex(of: UInt8(ascii: ";"))
      ?? rest.endIndex
    let part = rest[..<end]
    let key = part.prefix { $0 != UInt8(ascii: "=") }
    if !part.isEmpty, !key.isEmpty {
      found.append((unescaped(key), unescaped(part.dropFirst(key.count + 1))))
    }
    rest = rest[end...].dropFirst()
  }
  return found
}

private func unescaped(_ text: ArraySlice<UInt8>) -> [UInt8] {
  func digit(_ byte: UInt8) -> UInt8? {
    Character(UnicodeScalar(byte)).hexDigitValue.map { UInt8($0) }
  }
  var bytes: [UInt8] = []
  var index = text.startIndex
  while index < text.endIndex {
    if text[index] == UInt8(ascii: "%"), index + 2 < text.endIndex,
      let high = digit(text[index + 1]),
      let low = digit(text[index + 2])
    {
      bytes.append(high * 16 + low)
      index += 3
    } else {
      bytes.append(text[index])
      index += 1
    }
  }
  return Array(bytes.prefix { $0 != 0 })
}
