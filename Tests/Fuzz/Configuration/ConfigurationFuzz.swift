// Any bytes as a configuration file: parsing yields values or one error and never traps.
//
// Built together with Sources/Daemon/ConfigurationFile.swift and nothing else.

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzConfiguration(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  let lines = 1 + bytes.count { $0 == UInt8(ascii: "\n") }
  do {
    let file = try ConfigurationFile(name: "fuzz", bytes: bytes)
    var last = 1
    for entry in file.entries {
      precondition(!entry.key.isEmpty, "an entry has a key")
      precondition(entry.line >= last && entry.line <= lines, "entries are in the file's order")
      last = entry.line
    }
  } catch {
    precondition(error.line >= 1 && error.line <= lines, "an error is on a line of the file")
  }
  return 0
}
