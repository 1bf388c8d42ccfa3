// Descriptors that a client passes, with a close() that blocks.
import Foundation
import Testing

extension RawClient {
  /// Sends bytes with descriptors attached to the first byte. The caller keeps the descriptors.
  func send(_ bytes: [UInt8], descriptors: [Int32]) throws {
    var bytes = bytes
    let header = MemoryLayout<cmsghdr>.size
    let length = header + 4 * descriptors.count
    let sent = bytes.withUnsafeMutableBytes { bytes in
      var vector = iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
      return withUnsafeTemporaryAllocation(byteCount: (length + 7) & ~7, alignment: 8) { control in
        control.initializeMemory(as: UInt8.self, repeating: 0)
        var head = cmsghdr()
        head.cmsg_len = length
        head.cmsg_level = SOL_SOCKET
        head.cmsg_type = Int32(SCM_RIGHTS)
        control.storeBytes(of: head, as: cmsghdr.self)
        for (index, number) in descriptors.enumerated() {
          control.storeBytes(of: number, toByteOffset: header + 4 * index, as: Int32.self)
        }
        return withUnsafeMutablePointer(to: &vector) { vector in
          var message = msghdr()
          message.msg_iov = vector
          message.msg_iovlen = 1
          message.msg_control = control.baseAddress
          message.msg_controllen = control.count
          return sendmsg(descriptor, &message, Int32(MSG_NOSIGNAL))
        }
      }
    }
    guard sent == bytes.count else { throw Trouble("sending descriptors: \(errnoText())") }
  }
}

/// A TCP socket with more unsent data than its peer accepts. Its last close() waits for the peer.
final class LingeringSocket {
  private(set) var descriptor: Int32
  private let peer: Int32

  init(seconds: Int32 = 20) throws {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    defer { close(listener) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    let number = descriptor
    let isConnected = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        bind(listener, address, size) == 0 && listen(listener, 1) == 0
          && getsockname(listener, address, &size) == 0 && connect(number, address, size) == 0
      }
    }
    peer = accept(listener, nil, nil)
    guard isConnected, peer >= 0 else { throw Trouble("no connection: \(errnoText())") }
    _ = fcntl(peer, F_SETFD, FD_CLOEXEC)
    let block = [UInt8](repeating: 0, count: 1 << 20)
    while send(descriptor, block, block.count, Int32(MSG_DONTWAIT)) > 0 {}
    var linger = Glibc.linger(l_onoff: 1, l_linger: seconds)
    setsockopt(
      descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
  }

  /// Closes this process's reference. The receiver of the descriptor then has the last one.
  func letGo() {
    close(descriptor)
    descriptor = -1
  }

  /// The peer resets the connection, which unblocks close().
  func end() { close(peer) }
}
