// The channel between the old and the new process of a broker.
import Glibc
import Streams

/// One end of a pair of sockets that keep the boundaries of messages. It never blocks.
final class HandoverChannel {
  /// The kernel passes at most 253 descriptors with a message.
  static let mostDescriptors = 253

  /// The result of a read.
  enum Received {
    /// A message, with descriptors that belong to the caller.
    case message(HandoverMessage, [Int32])
    case nothing
    case closed
    /// The message cannot be read. Its descriptors are closed.
    case invalid(Message)
  }

  private let descriptor: Descriptor
  var number: Int32 { descriptor.number }

  init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }

  /// Both ends of a channel. The second is for another process.
  static func pair() throws(BrokerFailure) -> (HandoverChannel, HandoverChannel) {
    var ends: [Int32] = [-1, -1]
    let type = Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, type, 0, &ends) == 0 else {
      throw BrokerFailure(.noHandoverChannel, [errorText(errno)])
    }
    return (HandoverChannel(Descriptor(ends[0])), HandoverChannel(Descriptor(ends[1])))
  }

  /// Sends a message with descriptors, at most `mostDescriptors`, which stay the caller's. Returns why it cannot be sent;
  /// nil: it is.
  func send(_ message: HandoverMessage, _ descriptors: ArraySlice<Int32> = []) -> Message? {
    send(bytes: message.bytes, descriptors)
  }

  func send(bytes: [UInt8], _ descriptors: ArraySlice<Int32>) -> Message? {
    let dataSize = descriptors.count * 4
    let headerSize = MemoryLayout<cmsghdr>.size
    var control = [UInt8](repeating: 0, count: headerSize + (dataSize + 7) & ~7)
    control.withUnsafeMutableBytes { control in
      var header = cmsghdr()
      header.cmsg_len = headerSize + dataSize
      header.cmsg_level = SOL_SOCKET
      header.cmsg_type = Int32(SCM_RIGHTS)
      control.storeBytes(of: header, as: cmsghdr.self)
      for (index, descriptor) in descriptors.enumerated() {
        control.storeBytes(of: descriptor, toByteOffset: headerSize + index * 4, as: Int32.self)
      }
    }
    var bytes = bytes
    let flags = Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)
    let count = exchange(&bytes, &control, descriptors.isEmpty ? 0 : control.count) {
      sendmsg(number, &$0, flags)
    }.count
    return count == bytes.count ? nil : Message(.handoverNotSent, [errorText(errno)])
  }

  func receive() -> Received {
    var bytes = [UInt8](repeating: 0, count: HandoverMessage.longest)
    let headerSize = MemoryLayout<cmsghdr>.size
    var control = [UInt8](
      repeating: 0, count: headerSize + (HandoverChannel.mostDescriptors * 4 + 7) & ~7)
    let flags = Int32(MSG_DONTWAIT) | Int32(MSG_CMSG_CLOEXEC)
    let (count, header) = exchange(&bytes, &control, control.count) { recvmsg(number, &$0, flags) }
    guard count > 0 else {
      return count == 0 || errno != EAGAIN && errno != EINTR ? .closed : .nothing
    }
    let descriptors = HandoverChannel.descriptors(in: control, header.msg_controllen)
    let wasCut = header.msg_flags & (Int32(MSG_CTRUNC) | Int32(MSG_TRUNC)) != 0
    do throws(Violation) {
      guard !wasCut else { throw Violation(.handoverMessageCut) }
      return .message(try HandoverMessage(Array(bytes.prefix(count))), descriptors)
    } catch {
      for descriptor in descriptors { close(descriptor) }
      return .invalid(error.message)
    }
  }

  /// Calls `body` with a message header for the bytes and the control bytes.
  private func exchange(
    _ bytes: inout [UInt8], _ control: inout [UInt8], _ controlSize: Int,
    _ body: (inout msghdr) -> Int
  ) -> (count: Int, header: msghdr) {
    bytes.withUnsafeMutableBytes { bytes in
      control.withUnsafeMutableBytes { control in
        var run = iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
        return withUnsafeMutablePointer(to: &run) { run in
          var header = msghdr()
          header.msg_iov = run
          header.msg_iovlen = 1
          header.msg_control = controlSize > 0 ? control.baseAddress : nil
          header.msg_controllen = controlSize
          let count = body(&header)
          return (count, header)
        }
      }
    }
  }

  private static func descriptors(in control: [UInt8], _ length: Int) -> [Int32] {
    let headerSize = MemoryLayout<cmsghdr>.size
    return control.withUnsafeBytes { control in
      guard length >= headerSize, length <= control.count else { return [] }
      let header = control.load(as: cmsghdr.self)
      guard header.cmsg_level == SOL_SOCKET, header.cmsg_type == Int32(SCM_RIGHTS),
        header.cmsg_len >= headerSize, header.cmsg_len <= length
      else { return [] }
      return stride(from: headerSize, to: header.cmsg_len - 3, by: 4).map {
        control.loadUnaligned(fromByteOffset: $0, as: Int32.self)
      }
    }
  }
}
