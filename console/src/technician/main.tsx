import '../shared/security/trustedTypes';
import '../shared/theme/base.css';
import '@mantine/core/styles.layer.css';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { reloadWhenAddressBrings } from '../shared/security/addressSecret';
import { prepareStyleNonce } from '../shared/security/nonce';
import { Look } from '../shared/theme/Look';
import { takeSecretFromAddress } from '../api/technicianClient';
import { App } from './App';

document.documentElement.dataset.program = 'technician';
prepareStyleNonce();
takeSecretFromAddress();
reloadWhenAddressBrings('secret');

const root = document.getElementById('root');
if (root) {
  createRoot(root).render(
    <StrictMode>
      <Look program="technician">
        <App />
      </Look>
    </StrictMode>,
  );
}
