// Which processor the programs of a comparison run on.
import Ends
import Glibc

enum Processors {
  /// Keeps a process and all its threads on one processor, with what it starts from now on. False where
  /// the machine has just one, or none of that number; then nothing is changed.
  static func keep(_ process: pid_t, on number: Int) -> Bool {
    guard sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1, let taskset = Program.find("taskset") else {
      return false
    }
    // A thread that ends while it is looked at makes it fail: then all are looked at again.
    return (0..<5).contains { _ in
      (try? Program.run(taskset, ["-a", "-c", "-p", String(number), String(process)])) != nil
    }
  }
}
