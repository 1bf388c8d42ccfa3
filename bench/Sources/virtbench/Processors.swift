// The processor on which the programs of a comparison run.
import Ends
import Glibc

enum Processors {
  /// Pins a process, all its threads and the children it starts later to one processor. Returns false and changes
  /// nothing if the machine has only one processor or none with that number.
  static func keep(_ process: pid_t, on number: Int) -> Bool {
    guard sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1, let taskset = Program.find("taskset") else {
      return false
    }
    // It fails if a thread ends meanwhile; then it starts over.
    return (0..<5).contains { _ in
      (try? Program.run(taskset, ["-a", "-c", "-p", String(number), String(process)])) != nil
    }
  }
}
