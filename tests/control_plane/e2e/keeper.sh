# keeper FOLDER NAME: waits until standard input ends, which is when the test process does, however it ends; then stops
# what runs on the machine NAME, whose pids are in FOLDER and in a folder for each node, and takes everything of it away.
folder=$1 name=$2
trap '' INT TERM HUP
cat >/dev/null

end() {
    [ -f "$1.pid" ] || return 0
    pid=$(cat "$1.pid")
    kill -KILL "$pid" 2>/dev/null
    tries=50
    # A pid that nobody waits for stays; so this looks only so often.
    while kill -0 "$pid" 2>/dev/null && [ $tries -gt 0 ]; do sleep 0.1; tries=$((tries - 1)); done
}

for node in "$folder"/node*; do
    end "$node/kubelet"
    tasks() { timeout 10 ctr -a "$node/containerd.sock" -n k8s.io tasks "$@" 2>/dev/null; }
    if [ -S "$node/containerd.sock" ]; then
        for task in $(tasks ls -q); do tasks kill -s SIGKILL "$task"; done
        sleep 1
        for task in $(tasks ls -q); do tasks delete -f "$task" >/dev/null; done
    fi
    end "$node/containerd"
done
for program in kube-scheduler kube-controller-manager kube-apiserver etcd; do end "$folder/$program"; done
grep -o " $folder/[^ ]*" /proc/mounts | tac | while read -r mount; do umount -l "$mount"; done
ip link del "$name"
find /sys/fs/cgroup -depth -type d \( -path "*/$name-node*" \) -exec rmdir {} + 2>/dev/null
rm -rf "$folder"
