import { Button, Group, Modal } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { technician } from '../../api/technicianClient';
import { Failure } from '../../shared/ui/Answer';

/** The way out, on every page while somebody is inside. */
export function Leave({ machine, waiting = false }: { machine: string; waiting?: boolean }) {
  const [open, modal] = useDisclosure(false);
  const client = useQueryClient();
  const leave = useMutation({
    mutationFn: technician.leave,
    onSuccess: async () => {
      modal.close();
      await client.invalidateQueries({ queryKey: ['visit'] });
    },
  });
  if (waiting) {
    return (
      <Button variant="default" loading={leave.isPending} onClick={() => leave.mutate()}>
        Wait no longer
      </Button>
    );
  }
  return (
    <>
      <Button size="md" color="alarm" className="tech-leave" onClick={modal.open}>
        Leave
      </Button>
      <Modal.Root opened={open} onClose={modal.close} centered>
        <Modal.Overlay />
        <Modal.Content aria-label={`Leave ${machine}?`}>
          <Modal.Body p="lg">
            <h2 className="tech-ask">Leave {machine}?</h2>
            <p className="small quiet">
              Everything that was started in this session ends with it, and what is on its way is cut off. Coming back
              takes another yes of the owner.
            </p>
            {leave.error && <div className="form-failure"><Failure failure={leave.error} /></div>}
            <Group justify="flex-end" mt={18}>
              <Button variant="default" onClick={modal.close}>Stay</Button>
              <Button color="alarm" loading={leave.isPending} data-autofocus onClick={() => leave.mutate()}>Leave now</Button>
            </Group>
          </Modal.Body>
        </Modal.Content>
      </Modal.Root>
    </>
  );
}
