package godax

import (
	"godax/fs/axfs"
	"godax/fs/ext"
	"godax/fs/famfs"
	"godax/vfs"
)

// builtin are the file systems that Open knows, in the order they are asked. It never
// changes.
var builtin = []vfs.Driver{ext.Driver, axfs.Driver, famfs.Driver}
