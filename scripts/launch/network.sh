# shellcheck shell=sh
# Which network the ranks use. Sourced by the launchers, which hand these variables on to every rank.
#
#   BEAM_NET   the interface between the hosts, by name (eth0, ib0) or subnet (10.0.0.0/24). Without it Open MPI
#              tries every interface that is up; one that leads nowhere (docker0, a management network) then shows
#              as a job that hangs at its start or after "connection refused".
#   BEAM_IB    off: leave InfiniBand and RoCE alone and use TCP, to find out whether they are at fault.
#   NCCL_DEBUG INFO prints which interface, and which protocol, NCCL chose for what.
if [ -n "${BEAM_NET:-}" ]; then
    export OMPI_MCA_oob_tcp_if_include="$BEAM_NET" # the launcher's own messages
    export OMPI_MCA_btl_tcp_if_include="$BEAM_NET" # data over plain TCP
    case $BEAM_NET in
    */*) ;; # NCCL knows names only
    *) export NCCL_SOCKET_IFNAME="=$BEAM_NET" ;;
    esac
fi
if [ "${BEAM_IB:-on}" = off ]; then
    export OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader,tcp # not UCX; shared memory inside a host
    export NCCL_IB_DISABLE=1
fi
export NCCL_DEBUG="${NCCL_DEBUG:-WARN}"

# A host that vanishes without a word (power, a cable) ends the job after about 12 s instead of 8 minutes.
export OMPI_MCA_oob_tcp_keepalive_time=5 OMPI_MCA_oob_tcp_keepalive_intvl=2 OMPI_MCA_oob_tcp_keepalive_probes=3
