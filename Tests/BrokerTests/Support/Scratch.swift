// Temporary directories and socket pairs.
import Glibc

@testable import Broker

/// A temporary directory of one test. It is removed with the last reference to it.
final class Scratch {
  let path: String

  init() throws {
    var template = Array("/tmp/vb-broker-test.XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Trouble(what: "mkdtemp: \(errno)") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    guard let directory = opendir(path) else { return }
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { unlink("\(path)/\(name)") }
    }
    closedir(directory)
    rmdir(path)
  }

  /// Creates a file of that name in place of a daemon's socket.
  @discardableResult
  func touch(_ name: String) -> String {
    let file = "\(path)/\(name)"
    close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0o600))
    return file
  }
}

struct Trouble: Error { let what: String }

/// Two connected UNIX sockets. The caller closes them.
func socketPair() throws -> (Int32, Int32) {
  var ends: [Int32] = [-1, -1]
  guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0 else {
    throw Trouble(what: "socketpair: \(errno)")
  }
  return (ends[0], ends[1])
}

/// Both ends of a TCP connection. The caller closes them.
func tcpPair() throws -> (Int32, Int32) {
  let listener = Descriptor(socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0))
  let far = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  let near = withUnsafeMutablePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address -> Int32 in
      guard bind(listener.number, address, length) == 0, listen(listener.number, 1) == 0,
        getsockname(listener.number, address, &length) == 0, connect(far, address, length) == 0
      else { return -1 }
      return accept(listener.number, nil, nil)
    }
  }
  guard near >= 0 else { throw Trouble(what: "a TCP connection: \(errno)") }
  return (near, far)
}
