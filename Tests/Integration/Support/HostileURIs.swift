// URIs by which a client could try to make a daemon run a program or connect to a host.

enum HostileURIs {
  private static let schemes = [
    "qemu+ext", "QEMU+EXT", "Qemu+Ext", "qemu+eXt", "qemu+%65xt", "qemu%2bext", "qemu+ext+ext",
    "qemu++ext", "qemu+", "+ext", "ext", "remote+ext", "REMOTE+ext", "test+ext", "xen+ext",
    "lxc+ext",
    "network+ext", "storage+ext", "esx+ext", "vz+ext", "qemu+ssh", "QEMU+SSH", "qemu+libssh",
    "qemu+libssh2", "test+ssh", "remote+ssh", "qemu+unix", "remote+unix", "qemu+tcp", "qemu+tls",
    "qemu", "remote", "test", " qemu+ext", "\tqemu+ext", "qemu +ext", "qemu\n+ext", "qemu+ext ",
    "qemu+ext%00", "qemu+ext\u{1}", "qemu+ext\u{301}",
  ]

  private static let places = [
    "://x/system", "://x:1/system", ":///system", ":/system", ":system", "://[::1]/system",
    "://[x]/system", "://u@x/system", "://u:p@x/system", "://@x/system",
    "://-oProxyCommand=x/system",
    "://x", "://", ":", ":////x/system", "://x//system", "://x/../system", "://x/./system",
    "://x/system/", "://x/session", "://x/embed", ":///embed", "://%78/system", "://x%00/system",
    "://x%2fy/system", "://x\\/system", "://x\u{7}/system", "://x;y/system", "://:0/system",
    "://@/system", "://x@/system", "://x/%73ystem", "://x/system;a", "://x/system%3f",
  ]

  /// PROGRAM stands for the path of a program.
  private static let queries = [
    "?command=PROGRAM", "?COMMAND=PROGRAM", "?Command=PROGRAM", "?%63ommand=PROGRAM",
    "?%63%6f%6d%6d%61%6e%64=PROGRAM", "?%43OMMAND=PROGRAM", "?command%3dPROGRAM",
    "?a=b&command=PROGRAM", "?a=b;command=PROGRAM", "?;command=PROGRAM", "?&command=PROGRAM",
    "?&&;;command=PROGRAM", "?=x&command=PROGRAM", "?a=b;c=d&command=PROGRAM",
    "?a=b&command=PROGRAM;c=d", "?command=PROGRAM&command=PROGRAM", "?command=x&command=PROGRAM",
    "?command=PROGRAM&command=", "?command%00=PROGRAM", "?command%00x=PROGRAM",
    "?command=PROGRAM%00x", "?command\u{0}=PROGRAM", "?command =PROGRAM", "? command=PROGRAM",
    "?command%20=PROGRAM", "?command\t=PROGRAM", "?command=%20PROGRAM", "?\u{301}command=PROGRAM",
    "?\u{600}&command=PROGRAM", "?command=PROGRAM#f", "?a=b#c&command=PROGRAM", "#?command=PROGRAM",
    "#f?command=PROGRAM", "??command=PROGRAM", "?%3fcommand=PROGRAM", "?%26command=PROGRAM",
    "?a=%26command=PROGRAM", "?a%26command=PROGRAM", "?%+5=x&command=PROGRAM", "?%&command=PROGRAM",
    "?a=b?command=PROGRAM", "?netcat=PROGRAM", "?netcat=PROGRAM&proxy=netcat&command=PROGRAM",
    "?mode=direct&command=PROGRAM", "?socket=/x&command=PROGRAM", "?name=&command=PROGRAM",
    "?name=qemu:///system&command=PROGRAM", "?name=qemu%2bext://x/system?command=PROGRAM",
    "?name=qemu%252bext%3a//x/system%3fcommand%3dPROGRAM", "?root=/x&command=PROGRAM", "", "?",
  ]

  /// Every form of each part, combined with a few of the others.
  static func all(program: String) -> [String] {
    var list: [String] = []
    let places = ["://x/system", ":///system"]
    for scheme in schemes {
      for place in places {
        for query in ["?command=PROGRAM", "?a=b;command=PROGRAM"] {
          list.append(scheme + place + query)
        }
      }
    }
    for place in self.places {
      for scheme in ["qemu+ext", "qemu+ssh", "qemu", "remote+ext"] {
        list.append(scheme + place + "?command=PROGRAM")
      }
    }
    for query in queries {
      for scheme in ["qemu+ext", "qemu+ssh", "qemu+unix"] {
        for place in places { list.append(scheme + place + query) }
      }
    }
    return list.map { $0.replacing("PROGRAM", with: program) }
  }
}
