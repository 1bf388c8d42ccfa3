// Temporary directories and socket pairs.
import Glibc

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
