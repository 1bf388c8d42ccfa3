// A timer with microsecond resolution.
import CWait
import Glibc

/// The monotonic clock, in nanoseconds.
public func now() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
}

/// Sleeps until `moment` of the monotonic clock, in nanoseconds.
public func sleep(until moment: UInt64) {
  var time = timespec(
    tv_sec: Int(moment / 1_000_000_000), tv_nsec: Int(moment % 1_000_000_000))
  while clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nil) == EINTR {}
}

/// A descriptor that becomes readable at a given time. A timeout of `poll` is in milliseconds and may be late by the
/// process's timer slack; this is not.
final class Timer {
  let descriptor: Int32

  init() throws(EndFailure) {
    descriptor = timerfd_create(CLOCK_MONOTONIC, Int32(TFD_CLOEXEC))
    guard descriptor >= 0 else { throw .system("making a timer") }
  }

  deinit { close(descriptor) }

  /// The descriptor is readable from `moment` of the monotonic clock, in nanoseconds.
  func set(_ moment: UInt64) {
    var setting = itimerspec()
    // A time of zero would stop the timer.
    let moment = max(moment, 1)
    setting.it_value.tv_sec = Int(moment / 1_000_000_000)
    setting.it_value.tv_nsec = Int(moment % 1_000_000_000)
    timerfd_settime(descriptor, Int32(TFD_TIMER_ABSTIME), &setting, nil)
  }
}
