// A socket without encryption: UNIX or TCP.
import CLinux
import Glibc
import Streams

/// Sends and receives bytes without a buffer of its own. Never blocks.
final class PlainTransport: Transport {
  let number: Int32
  let carriesDescriptors: Bool
  private let foreign: ForeignDescriptors?
  /// Where the pipe to this socket comes from; nil: there is never one.
  private let pipes: Pipes?
  /// The pipe to this socket; nil: none is open, and none has content.
  private var pipe: PipeEnds?
  /// Bytes in the pipe.
  private(set) var unsent = 0
  private var isPipeClosing = false
  /// Reading from this socket never waits, whatever the call.
  private var isNonblocking = false

  /// Room for a control message with the kernel's maximum of descriptors (SCM_MAX_FD). The kernel closes descriptors
  /// that do not fit, and would do so on this thread.
  private static let controlBytes = 16 + 4 * 253 + 4

  /// - Parameter foreign: closes the descriptors received over the socket, and the socket itself, beside the loop; nil:
  /// they are closed immediately.
  /// - Parameter pipes: for payload to this socket, a UNIX socket that never blocks.
  init(
    _ descriptor: consuming Descriptor, carriesDescriptors: Bool,
    foreign: ForeignDescriptors? = nil, pipes: Pipes? = nil
  ) {
    number = descriptor.release()
    self.carriesDescriptors = carriesDescriptors
    self.foreign = foreign
    self.pipes = pipes
  }

  deinit {
    if let pipe { pipes?.close(pipe) }
    guard number >= 0 else { return }
    if let foreign { foreign.close(number, isCounted: false) } else { close(number) }
  }

  func closeSending() { shutdown(number, Int32(SHUT_WR)) }

  func receive(into rooms: UnsafeBufferPointer<Run>, descriptor received: inout Int32) -> Outcome {
    if carriesDescriptors { return receiveWithDescriptors(into: rooms, &received) }
    let flags = Int32(MSG_DONTWAIT)
    if rooms.count == 1 {
      // One room is the usual case, and `recv` is cheaper than a scattered read.
      return PlainTransport.outcome(
        recv(number, rooms[0].base, rooms[0].count, flags), .read)
    }
    var message = msghdr()
    message.msg_iov = UnsafeMutableRawPointer(mutating: rooms.baseAddress)?
      .assumingMemoryBound(to: iovec.self)
    message.msg_iovlen = rooms.count
    return PlainTransport.outcome(recvmsg(number, &message, flags), .read)
  }

  /// A read without `recvmsg` across a carrier byte would destroy its descriptor. The kernel ends a read after such a
  /// byte, so the descriptor always belongs to the last byte received.
  private func receiveWithDescriptors(
    into rooms: UnsafeBufferPointer<Run>, _ received: inout Int32
  ) -> Outcome {
    var found: Int32 = -1
    let outcome = withUnsafeTemporaryAllocation(
      byteCount: PlainTransport.controlBytes, alignment: 8
    ) { control in
      var message = msghdr()
      message.msg_iov = UnsafeMutableRawPointer(mutating: rooms.baseAddress)?
        .assumingMemoryBound(to: iovec.self)
      message.msg_iovlen = rooms.count
      message.msg_control = control.baseAddress
      message.msg_controllen = control.count
      let flags = Int32(MSG_DONTWAIT | MSG_CMSG_CLOEXEC)
      let count = recvmsg(number, &message, flags)
      let isCut = message.msg_flags & Int32(MSG_CTRUNC) != 0
      guard count > 0, message.msg_controllen > 0 || isCut else {
        return PlainTransport.outcome(count, .read)
      }
      let all = PlainTransport.descriptors(in: control, length: message.msg_controllen)
      guard all.count == 1, !isCut else {
        // libvirt sends exactly one descriptor with a byte and refuses anything else. If the message was cut off and
        // has no descriptor, this process has reached its limit.
        for descriptor in all { discard(descriptor, isCounted: false) }
        return .failed(all.isEmpty ? EMFILE : EPROTO)
      }
      guard foreign?.tryReserve() != false else {
        discard(all[0], isCounted: false)
        return .failed(EMFILE)
      }
      found = all[0]
      return .moved(count)
    }
    if found >= 0 { received = found }
    return outcome
  }

  /// The descriptors of a control message.
  private static func descriptors(
    in control: UnsafeMutableRawBufferPointer, length: Int
  ) -> [Int32] {
    var found: [Int32] = []
    var offset = 0
    let headerSize = MemoryLayout<cmsghdr>.size
    while offset + headerSize <= length {
      let header = control.loadUnaligned(fromByteOffset: offset, as: cmsghdr.self)
      guard header.cmsg_len >= headerSize, offset + header.cmsg_len <= length else { break }
      if header.cmsg_level == SOL_SOCKET, header.cmsg_type == Int32(SCM_RIGHTS) {
        var place = offset + headerSize
        while place + 4 <= offset + header.cmsg_len {
          found.append(control.loadUnaligned(fromByteOffset: place, as: Int32.self))
          place += 4
        }
      }
      offset += (header.cmsg_len + 7) & ~7
    }
    return found
  }

  func send(_ runs: UnsafeBufferPointer<Run>) -> Outcome {
    if runs.isEmpty { return emptyPipe() }
    let flags = Int32(MSG_DONTWAIT | MSG_NOSIGNAL)
    if runs.count == 1 {
      return PlainTransport.outcome(
        Glibc.send(number, runs[0].base, runs[0].count, flags), .write)
    }
    var message = msghdr()
    message.msg_iov = UnsafeMutableRawPointer(mutating: runs.baseAddress)?
      .assumingMemoryBound(to: iovec.self)
    message.msg_iovlen = runs.count
    return PlainTransport.outcome(sendmsg(number, &message, flags), .write)
  }

  func send(descriptor passed: Int32) -> Outcome {
    var zero: UInt8 = 0
    return withUnsafeMutablePointer(to: &zero) { byte in
      var vector = iovec(iov_base: byte, iov_len: 1)
      return withUnsafeMutablePointer(to: &vector) { vector in
        withUnsafeTemporaryAllocation(byteCount: 24, alignment: 8) { control in
          control.initializeMemory(as: UInt8.self, repeating: 0)
          var header = cmsghdr()
          header.cmsg_len = MemoryLayout<cmsghdr>.size + 4
          header.cmsg_level = SOL_SOCKET
          header.cmsg_type = Int32(SCM_RIGHTS)
          control.storeBytes(of: header, as: cmsghdr.self)
          control.storeBytes(of: passed, toByteOffset: MemoryLayout<cmsghdr>.size, as: Int32.self)
          var message = msghdr()
          message.msg_iov = vector
          message.msg_iovlen = 1
          message.msg_control = control.baseAddress
          message.msg_controllen = control.count
          let flags = Int32(MSG_DONTWAIT | MSG_NOSIGNAL)
          return PlainTransport.outcome(sendmsg(number, &message, flags), .write)
        }
      }
    }
  }

  // MARK: The pipe

  func openPipe(from source: any Transport) -> Bool {
    guard let pipes, let source = source as? PlainTransport, !source.carriesDescriptors,
      source.neverBlocks()
    else { return false }
    isPipeClosing = false
    if pipe == nil { pipe = pipes.take() }
    return pipe != nil
  }

  func fillPipe(with bytes: UnsafeRawBufferPointer) -> Bool {
    guard let pipe, write(pipe.writing, bytes.baseAddress, bytes.count) == bytes.count else {
      return false
    }
    unsent += bytes.count
    return true
  }

  func fillPipe(from source: any Transport, limit: Int) -> Outcome {
    guard let pipe, let source = source as? PlainTransport else { return .moved(0) }
    let count = linux_splice(source.number, pipe.writing, UInt(limit))
    if count > 0 {
      unsent += count
      return .moved(count)
    }
    if count == 0 { return .end }
    switch errno {
    case EAGAIN, EINTR: return .blocked(unsent == 0 ? .read : .write)
    case EINVAL: return .moved(0)
    case let number: return .failed(number)
    }
  }

  func closePipe() {
    isPipeClosing = true
    closePipeIfEmpty()
  }

  /// Sends the pipe's content. Nothing else may be sent before it.
  private func emptyPipe() -> Outcome {
    guard let pipe, unsent > 0 else { return .moved(0) }
    let count = linux_splice(pipe.reading, number, UInt(unsent))
    guard count > 0 else { return PlainTransport.outcome(count, .write) }
    unsent -= count
    if isPipeClosing { closePipeIfEmpty() }
    return .moved(count)
  }

  private func closePipeIfEmpty() {
    guard unsent == 0, let pipe else { return }
    self.pipe = nil
    pipes?.close(pipe)
  }

  /// A splice from a socket obeys the flag of its file alone. False: the flag cannot be set.
  private func neverBlocks() -> Bool {
    if isNonblocking { return true }
    let flags = fcntl(number, F_GETFL)
    isNonblocking = flags >= 0 && fcntl(number, F_SETFL, flags | O_NONBLOCK) == 0
    return isNonblocking
  }

  func discard(descriptor: Int32) { discard(descriptor, isCounted: true) }

  private func discard(_ descriptor: Int32, isCounted: Bool) {
    guard descriptor >= 0 else { return }
    if let foreign {
      foreign.close(descriptor, isCounted: isCounted)
    } else {
      close(descriptor)
    }
  }

  private static func outcome(_ count: Int, _ wanted: Interest) -> Outcome {
    if count > 0 { return .moved(count) }
    if count == 0 { return wanted == .read ? .end : .moved(0) }
    switch errno {
    case EAGAIN, EINTR: return .blocked(wanted)
    case let number: return .failed(number)
    }
  }
}
