// Threads for ends that block.
import Glibc
import Synchronization

/// Runs `body` on a new thread whose end is not awaited.
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

/// A value that one thread makes and another then uses alone, whether or not its type is Sendable.
public struct Handed<Value>: @unchecked Sendable {
  public let value: Value
  public init(_ value: Value) { self.value = value }
}

/// A signal from one thread to others to end. It is raised once.
public final class StopSign: Sendable {
  private let state = Atomic(false)
  public init() {}
  public var isUp: Bool { state.load(ordering: .acquiring) }
  public func raise() { state.store(true, ordering: .releasing) }
}

/// A thread with a result.
public final class Worker<Value: Sendable>: Sendable {
  private let result = Mutex<Result<Value, any Error>?>(nil)
  private let semaphore = Handed(UnsafeMutablePointer<sem_t>.allocate(capacity: 1))

  public init(_ body: @escaping @Sendable () throws -> Value) throws(EndFailure) {
    sem_init(semaphore.value, 0, 0)
    try detach { [self] in
      let outcome = Result(catching: body)
      result.withLock { $0 = outcome }
      sem_post(semaphore.value)
    }
  }

  deinit {
    sem_destroy(semaphore.value)
    semaphore.value.deallocate()
  }

  /// Waits for the end and returns the result. Call it once.
  public func value() throws -> Value {
    while sem_wait(semaphore.value) != 0 {}
    guard let outcome = result.withLock({ $0 }) else {
      throw EndFailure("a thread ended without a result")
    }
    return try outcome.get()
  }
}

/// Runs `body` for 0 to `count` - 1 on as many concurrent threads, or on this thread if `count` is 1. Returns the
/// results in that order. All threads have ended when this returns or throws.
public func inParallel<Value: Sendable>(
  _ count: Int, _ body: @escaping @Sendable (Int) throws -> Value
) throws -> [Value] {
  if count == 1 { return [try body(0)] }
  let workers = try (0..<count).map { index in try Worker { try body(index) } }
  let results = workers.map { worker in Result { try worker.value() } }
  return try results.map { try $0.get() }
}
