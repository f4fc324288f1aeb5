// Package posixtest is a table of rules that file systems of Linux follow: permissions, sticky
// and setgid directories, setuid clearing, link counts, times, limits, files that are open
// without a name, corners of rename. A rule does things in an empty directory and writes
// down what it saw. There is no list of right answers: the same table runs on the kernel's
// own file system, and the lines are compared.
package posixtest
