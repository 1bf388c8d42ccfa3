// Threads of their own for ends that block.
import Glibc

/// Runs `body` on a new thread that nobody waits for.
public func detach(_ body: @escaping @Sendable () -> Void) throws(EndFailure) {
  final class Box {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  var attributes = pthread_attr_t()
  pthread_attr_init(&attributes)
  defer { pthread_attr_destroy(&attributes) }
  pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
  pthread_attr_setstacksize(&attributes, 256 * 1024)
  let box = Unmanaged.passRetained(Box(body))
  var thread = pthread_t()
  let code = pthread_create(
    &thread, &attributes,
    {
      Unmanaged<Box>.fromOpaque($0!).takeRetainedValue().body()
      return nil
    }, box.toOpaque())
  if code != 0 {
    box.release()
    throw .system("starting a thread", code)
  }
}
