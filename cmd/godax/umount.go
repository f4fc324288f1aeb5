package main

import (
	"github.com/spf13/cobra"
)

func newUmount(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "umount [--force] DIR...",
		Short: "Unmount what godax mount has mounted, and wait until the image is closed",
		Long: `umount unmounts, and returns when the image has been written and closed: unlike
umount(8), which returns at once, while the serving process is still at it.

With --force it unmounts even while files are in use: those who use them get errors.`,
		Example: `  godax umount /mnt && e2fsck -fn disk.img`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			for _, dir := range args {
				if err := a.umount(dir, force); err != nil {
					a.warn(failure("umount", dir, err))
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "also while files are in use")
	return cmd
}
