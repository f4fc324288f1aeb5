package godax

import "godax/vfs"

// builtin are the file systems that Open knows, in the order they are asked.
var builtin = []vfs.Driver{}
