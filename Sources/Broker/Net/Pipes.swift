// Pipes in the kernel, through which a client's payload reaches a daemon without being read.
import CLinux
import Glibc

/// The two ends of a pipe.
struct PipeEnds {
  let reading: Int32
  let writing: Int32

  fileprivate func close() {
    Glibc.close(reading)
    Glibc.close(writing)
  }
}

/// Counts the pipes of one loop. A connection to a daemon has one from the first large packet of an upload to the
/// upload's end.
final class Pipes {
  /// Bytes of a pipe, as in the prototypes whose figures `Watermarks.splicedPayload` has.
  private static let bytes: Int32 = 256 << 10
  /// The most pipes at a time. The kernel allows a user without privileges pages for 256 of this size
  /// (fs.pipe-user-pages-soft).
  private static let most = 128
  /// After a failure to make a pipe, so many requests are refused without another attempt.
  private static let refusals = 1000

  private var used = 0
  private var refusalsLeft = 0
  private let limit: Int

  /// - Parameter descriptorLimit: the process's limit; pipes use up to a sixteenth of it.
  init(descriptorLimit: Int) {
    limit = Pipes.isSupported ? min(Pipes.most, descriptorLimit / 32) : 0
  }

  /// An empty pipe; nil: the limit is reached, or the kernel has none.
  func take() -> PipeEnds? {
    if refusalsLeft > 0 {
      refusalsLeft -= 1
      return nil
    }
    guard used < limit else { return nil }
    var ends: [Int32] = [-1, -1]
    guard linux_pipe(&ends, O_NONBLOCK | O_CLOEXEC) == 0 else {
      refusalsLeft = Pipes.refusals
      return nil
    }
    let pipe = PipeEnds(reading: ends[0], writing: ends[1])
    guard fcntl(pipe.writing, Int32(LINUX_F_SETPIPE_SZ), Pipes.bytes) >= Pipes.bytes else {
      pipe.close()
      refusalsLeft = Pipes.refusals
      return nil
    }
    used += 1
    return pipe
  }

  func close(_ pipe: PipeEnds) {
    used -= 1
    pipe.close()
  }

  /// Since Linux 6.5 a splice to a UNIX socket passes all of a pipe's pages in one message. It was not measured on
  /// earlier kernels.
  private static let isSupported: Bool = {
    var name = utsname()
    guard uname(&name) == 0 else { return false }
    let release = withUnsafeBytes(of: &name.release) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    let numbers = release.split(whereSeparator: { !$0.isNumber }).prefix(2).compactMap { Int($0) }
    guard numbers.count == 2 else { return false }
    return (numbers[0], numbers[1]) >= (6, 5)
  }()
}
